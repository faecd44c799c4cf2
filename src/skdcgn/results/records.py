"""The records that are kept as JSON: ``results.json`` of a run, ``study.json`` of a study; typed, finite, complete."""

from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Duration, Parameters, Percent, Probability, Seed, Speed, Whole
from skdcgn.base.config import Optimizer
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.records import to_dict
from skdcgn.evaluation.scores import Diversity, HeadScores, PixelL1
from skdcgn.results.head_lines import head_lines
from skdcgn.results.notebook import html_table
from skdcgn.results.study_record import StudyRecord

RESULTS_FILE, STUDY_FILE = "results.json", "study.json"


@dataclass(frozen=True)
class OodAccuracy:
    """Out-of-domain accuracy in percent, by the training set of the classifier."""

    biased: Percent
    teacher: Percent
    student: Percent
    oracle: Percent


@dataclass(frozen=True)
class Sizes:
    """Parameters of each CGN; None if they are unknown."""

    teacher: Parameters | None
    student: Parameters


@dataclass(frozen=True)
class Speeds:
    """Counterfactuals per second."""

    teacher: Speed
    student: Speed


@dataclass(frozen=True)
class TeacherIdentity:
    """The teacher: its name or file, and the digest of its contents."""

    name: str | None
    digest: str


@dataclass(frozen=True)
class ClassifierBudget:
    """The settings that all classifiers share; ``bf16``: whether they were computed in bfloat16."""

    images: Count
    per_shape: Count
    epochs: Count
    batch_size: Count
    policy: tuple[str, ...] = ()
    agreement: Probability = 0.0
    real: Probability = 0.0
    optimizer: Optimizer = Optimizer.ADADELTA  # in results older than this field
    bf16: bool = False


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Results of any run: its identity, and the comparison of the student with its teacher."""

    preset: str
    seed: Seed
    digest: str
    queries: dict[str, Whole]
    held_out_queries: Count
    teacher: TeacherIdentity
    versions: dict[str, str]
    parameters: Sizes
    counterfactuals_per_second: Speeds
    pixel_l1: dict[str, PixelL1]
    diversity: dict[str, Diversity]
    seconds: dict[str, Duration]


@dataclass(frozen=True, kw_only=True)
class MnistResults(RunResults):
    """``results.json`` as :mod:`skdcgn.experiments.run_mnist` writes it."""

    ood_accuracy: OodAccuracy
    classifier_budget: ClassifierBudget
    test_images: Count

    def _repr_html_(self) -> str:
        """Return the accuracies as a table, for notebooks."""
        rows = [(name, f"{accuracy:.1f}") for name, accuracy in asdict(self.ood_accuracy).items()]
        return html_table(f"{self.preset}, seed {self.seed}", ["trained on", "out-of-domain accuracy, %"], rows)


@dataclass(frozen=True, kw_only=True)
class ImageNetResults(RunResults):
    """``results.json`` as :mod:`skdcgn.experiments.run_imagenet` writes it; ``stand_in``: the teacher drew all images.

    ``ensembles``: scores by training set, then by challenge.
    """

    ensembles: dict[str, dict[str, HeadScores]]
    stand_in: bool

    def __post_init__(self) -> None:
        if len({tuple(scores) for scores in self.ensembles.values()}) > 1:
            raise UserError("its ensembles were not measured alike")

    def _repr_html_(self) -> str:
        """Return the scores by measure, head and training set, in percent, as a table, for notebooks."""
        rows = [[line.measure, *map(str, line.values)] for line in head_lines(self.ensembles)]
        return html_table(f"{self.preset}, seed {self.seed}", ["%", *self.ensembles], rows)


R = TypeVar("R")


def write_results(run: Path, results: RunResults) -> None:
    """Write ``run/results.json``."""
    write_json(run / RESULTS_FILE, to_dict(results))


def read_results(run: Path, kind: type[R]) -> R:
    """Read ``run/results.json``; raise UserError that names the mend if it is missing, damaged or incomplete."""
    path = run / RESULTS_FILE
    if not path.is_file():
        raise UserError(f"{path} does not exist: finish the run by repeating its command (skdcgn run ... --out {run})")
    return read_record(path, kind, "delete the file and repeat the run")


def write_study(folder: Path, record: StudyRecord) -> None:
    """Write ``folder/study.json``."""
    write_json(folder / STUDY_FILE, to_dict(record))


def read_study(folder: Path) -> StudyRecord:
    """Read ``folder/study.json``; raise UserError that names the mend if it is missing, damaged or incomplete."""
    return read_record(folder / STUDY_FILE, StudyRecord, "delete the file and repeat the study")
