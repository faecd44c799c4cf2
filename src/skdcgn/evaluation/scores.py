"""What evaluation returns and results keep: typed numbers, finite or None. No torch here."""

from pydantic import FiniteFloat
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class PixelL1:
    """L1 to held-out answers of the teacher: of the student, and of the mean image of each class."""

    student: FiniteFloat
    label_mean: FiniteFloat


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise L1 within a class; None where no class has two images. ``glyphs``: of real masks."""

    teacher: FiniteFloat | None
    student: FiniteFloat | None
    glyphs: FiniteFloat | None = None


@dataclass(frozen=True)
class HeadScores:
    """One number of the ensemble and of each head, by name, in percent (a gap: in points), and of how many images."""

    images: int
    percent: dict[str, FiniteFloat]
