"""Records that evaluation returns and results keep: typed numbers, finite or None. No torch here."""

from pydantic import FiniteFloat
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class PixelL1:
    """Mean L1 per pixel to held-out answers of the teacher: of the student, and of the mean image of each class."""

    student: FiniteFloat
    label_mean: FiniteFloat


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise L1 within a class; None if no class has two images. ``glyphs``: of real masks."""

    teacher: FiniteFloat | None
    student: FiniteFloat | None
    glyphs: FiniteFloat | None = None


@dataclass(frozen=True)
class HeadScores:
    """One metric of the ensemble and of each of its heads, in percent (BG-gap: in points), and over how many images."""

    images: int
    percent: dict[str, FiniteFloat]
