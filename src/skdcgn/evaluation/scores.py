"""Records that evaluation returns and results keep: typed numbers, finite, or None if not measured. No torch here."""

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Measure

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
class HeadScores:
    """One metric of the ensemble and of each of its heads, in percent (BG-gap: in points), and over how many images.

    None: not measured, because a head made no decision for either shape or texture.
    """

    images: Count
    percent: dict[str, Measure | None]

    def text(self, head: str) -> str:
        """Return the number of a head with one digit, or that it is not measured."""
        value = self.percent.get(head)
        return NOT_MEASURED if value is None else f"{value:.1f}"
