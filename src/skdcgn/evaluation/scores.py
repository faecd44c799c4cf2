"""Records that evaluation returns and results keep: typed numbers, finite, or None if not measured. No torch here."""

from typing import NamedTuple

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Measure, Whole

ENSEMBLE, SHAPE_TEXTURE = "ensemble", "shape + texture"  # the mean of all heads' logits, and of these two heads'
HEADS = (ENSEMBLE, SHAPE_TEXTURE, "shape", "texture", "background")  # in the order of tables
MIXED_SAME, MIXED_RAND, BG_GAP, SHAPE_BIAS = "mixed_same", "mixed_rand", "BG-gap", "shape bias"
BY_HEAD = (SHAPE_BIAS, MIXED_SAME, MIXED_RAND, BG_GAP)  # metrics that tables show for every head
NOT_MEASURED = "not measured"  # in the place of a number that is None


@dataclass(frozen=True)
class PixelL1:
    """Mean L1 per pixel to held-out answers of the teacher: of the student, and of the mean image of each class."""

    student: Measure
    label_mean: Measure


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise L1 within a class; None if no class has two images. ``glyphs``: of real masks."""

    teacher: Measure | None
    student: Measure | None
    glyphs: Measure | None = None


@dataclass(frozen=True)
class CueDecisions:
    """How many decisions of a head are for the category of the shape, and for that of the texture."""

    shape: Whole
    texture: Whole

    def __str__(self) -> str:
        return f"{self.shape:,} shape, {self.texture:,} texture"


@dataclass(frozen=True)
class CueCounts:
    """What a shape bias is a ratio of.

    ``decisions``: by head, each among ``categories``, those of the sixteen that the classifier has classes for;
    ``left_out``: conflicts that are not between two of them.
    """

    decisions: dict[str, CueDecisions]
    categories: tuple[str, ...]
    left_out: Whole = 0

    @property
    def scope(self) -> str | None:
        """Return the categories and what is left out in words; None if nothing is."""
        if not self.left_out:
            return None
        names = ", ".join(self.categories)
        return f"among {names}, for which the classifier has classes; {self.left_out:,} other cue conflicts left out"


@dataclass(frozen=True)
class HeadScores:
    """One metric of a classifier by head, in percent (BG-gap: in points), and over how many images.

    The heads of an ensemble: ``ensemble`` is the mean of the logits of its three heads, ``shape + texture`` that of
    these two (the published BG-gap), and each head alone. A classifier of one head has ``ensemble`` alone. None: not
    measured, because a head made no decision for either shape or texture. ``cues``: the decisions of a shape bias.
    """

    images: Count
    percent: dict[str, Measure | None]
    cues: CueCounts | None = None

    def text(self, head: str) -> str:
        """Return the number of a head with one digit, or that it is not measured."""
        value = self.percent.get(head)
        return NOT_MEASURED if value is None else f"{value:.1f}"

    def value(self, head: str) -> "HeadValue":
        """Return the number of a head and, of a shape bias, its decisions."""
        return HeadValue(self.text(head), self.cues.decisions.get(head) if self.cues else None)


class HeadValue(NamedTuple):
    """A number of one head, and the decisions that a shape bias is a ratio of: ``24.1 (197 shape, 622 texture)``."""

    number: str
    decisions: CueDecisions | None

    def __str__(self) -> str:
        return f"{self.number} ({self.decisions})" if self.decisions else self.number

    @property
    def stacked(self) -> str:
        """Return number and decisions below each other, for narrow columns."""
        cues = self.decisions
        return f"{self.number}\n{cues.shape:,} shape\n{cues.texture:,} texture" if cues else self.number
