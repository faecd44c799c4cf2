"""``results.json`` as the report reads it: typed, finite, complete, or one line that says what is wrong."""

from pathlib import Path
from typing import TypeVar

from pydantic import FiniteFloat, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json


@dataclass(frozen=True)
class Scores:
    """Out-of-domain accuracy in percent, by what the classifier was trained on."""

    biased: FiniteFloat
    teacher: FiniteFloat
    student: FiniteFloat
    oracle: FiniteFloat


@dataclass(frozen=True)
class Sizes:
    """How many numbers each CGN holds; None where nobody can know."""

    teacher: PositiveInt | None
    student: PositiveInt


@dataclass(frozen=True)
class Speeds:
    """Counterfactuals per second."""

    teacher: PositiveFloat
    student: PositiveFloat


@dataclass(frozen=True)
class PixelL1:
    """L1 to held-out answers of the teacher: of the student, and of the mean image of each class."""

    student: FiniteFloat
    label_mean: FiniteFloat


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise L1 within a class; None where no class has two images."""

    teacher: FiniteFloat | None
    student: FiniteFloat | None


@dataclass(frozen=True)
class Origin:
    """Which teacher answered."""

    name: str | None
    digest: str


@dataclass(frozen=True)
class Budget:
    """What every classifier was trained with."""

    images: int
    per_shape: int
    epochs: int
    batch_size: int
    policy: tuple[str, ...] = ()
    agreement: float = 0.0
    real: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """What ``results.json`` tells of any run: the student beside its teacher."""

    preset: str
    seed: int
    digest: str
    parameters: Sizes
    counterfactuals_per_second: Speeds
    queries: dict[str, int]
    held_out_queries: int
    pixel_l1: dict[str, PixelL1]
    diversity: dict[str, Diversity]
    teacher: Origin
    seconds: dict[str, FiniteFloat]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Results(Distilled):
    """``results.json`` as :mod:`skdcgn.experiments.run_mnist` writes it."""

    ood_accuracy: Scores
    classifier_budget: Budget
    test_images: int


@dataclass(frozen=True)
class Measured:
    """One number of the ensemble and of each head, by name, in percent (a gap: in points), and of how many images."""

    images: int
    percent: dict[str, FiniteFloat]


@dataclass(frozen=True, kw_only=True)
class ImageNetResults(Distilled):
    """``results.json`` of a run on photographs; ``stand_in``: the teacher drew all images."""

    ensembles: dict[str, dict[str, Measured]]
    stand_in: bool


R = TypeVar("R", bound=Distilled)


def read_results(run: Path, kind: type[R]) -> R:
    """Read ``results.json``; raise UserError that names the mend if it is missing, damaged or incomplete."""
    path = run / "results.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist: finish the run by repeating its command (skdcgn run ... --out {run})")
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {key}: {first['msg'].lower()}: delete the file and repeat the run") from None
