"""``results.json`` of a run on a user's own photographs."""

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Duration, Parameters, Seed
from skdcgn.base.errors import UserError
from skdcgn.evaluation.scores import HeadScores, PixelL1
from skdcgn.results.notebook import html_table

SCORE = "ensemble"  # the key of a classifier's own score: of its one head, or of the mean of its heads


@dataclass(frozen=True)
class PhotoCounts:
    """Numbers of photographs: all, and those whose mask is usable."""

    train: Count
    train_usable: Count
    test: Count
    test_usable: Count


@dataclass(frozen=True)
class TrainingBudget:
    """The budget that all classifiers of a run share.

    Args:
        steps: of a training with counterfactuals.
        real_steps: of the training on real photographs alone, which is rounded to whole epochs.
        images: per step.
        counterfactuals: how many of the images.
    """

    steps: Count
    real_steps: Count
    images: Count
    counterfactuals: Count


@dataclass(frozen=True)
class StudentNumbers:
    """The student of a photo CGN: its parameters, and its mean L1 to held-out answers, by mechanism."""

    parameters: Parameters
    pixel_l1: dict[str, PixelL1]


@dataclass(frozen=True, kw_only=True)
class PhotosResults:
    """``results.json`` as :mod:`skdcgn.experiments.run_photos` writes it.

    Args:
        names: of the classes.
        photo_cgn: sha256 of the photo CGN.
        classifiers: scores by what the classifier was trained on, then by measure.
        student: None without one.
        synthetic: the photographs are drawings.
    """

    preset: str
    seed: Seed
    digest: str
    names: tuple[str, ...]
    photographs: PhotoCounts
    budget: TrainingBudget
    photo_cgn: str
    classifiers: dict[str, dict[str, HeadScores]]
    student: StudentNumbers | None
    synthetic: bool
    versions: dict[str, str]
    seconds: dict[str, Duration]

    def __post_init__(self) -> None:
        if len({tuple(scores) for scores in self.classifiers.values()}) > 1:
            raise UserError("its classifiers were not measured alike")

    def _repr_html_(self) -> str:
        """Return the measures of each classifier as a table, for notebooks."""
        measures = next(iter(self.classifiers.values()), dict[str, HeadScores]())
        rows = [[name, *(scores[one].text(SCORE) for one in measures)] for name, scores in self.classifiers.items()]
        return html_table(f"{self.preset}, seed {self.seed}", ["trained on", *measures], rows)
