"""skdcgn: distill Counterfactual Generative Networks into tiny students, and train classifiers on their images.

    teacher = skdcgn.load_teacher("double-colored-digits")
    student = skdcgn.distill(teacher, "runs/mine")
    images = skdcgn.compose(student, n=1000, per_shape=10, seed=0).images

The names below are imported when first used, so that the command line shows its help without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdcgn.base.config import DistillConfig, QueryConfig
    from skdcgn.base.errors import UserError
    from skdcgn.base.progress import progress_bars
    from skdcgn.cgn.compose import compose, compose_batches
    from skdcgn.cgn.counterfactuals import Counterfactuals
    from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, Teacher
    from skdcgn.deploy.dataset import CounterfactualDataset
    from skdcgn.experiments.audit import audit
    from skdcgn.experiments.cure import cure
    from skdcgn.experiments.evaluate import evaluate_cgn
    from skdcgn.experiments.evaluate_classifier import evaluate_classifier
    from skdcgn.experiments.run_mnist import run_mnist
    from skdcgn.experiments.run_study import run_study
    from skdcgn.students.distill import distill
    from skdcgn.students.generator import StudentCGN
    from skdcgn.teachers.load import load_student, load_teacher
    from skdcgn.teachers.record import RecordConfig, record

__version__ = "0.1.0"

_MODULES = {
    "CounterfactualDataset": "deploy.dataset",
    "Counterfactuals": "cgn.counterfactuals",
    "DistillConfig": "base.config",
    "Layers": "cgn.mechanism",
    "Mechanism": "cgn.mechanism",
    "QueryConfig": "base.config",
    "RecordConfig": "teachers.record",
    "Spec": "cgn.mechanism",
    "StudentCGN": "students.generator",
    "Teacher": "cgn.mechanism",
    "UserError": "base.errors",
    "audit": "experiments.audit",
    "compose": "cgn.compose",
    "compose_batches": "cgn.compose",
    "cure": "experiments.cure",
    "distill": "students.distill",
    "evaluate_cgn": "experiments.evaluate",
    "evaluate_classifier": "experiments.evaluate_classifier",
    "load_student": "teachers.load",
    "load_teacher": "teachers.load",
    "progress_bars": "base.progress",
    "record": "teachers.record",
    "run_mnist": "experiments.run_mnist",
    "run_study": "experiments.run_study",
}

__all__ = [
    "CounterfactualDataset",
    "Counterfactuals",
    "DistillConfig",
    "Layers",
    "Mechanism",
    "QueryConfig",
    "RecordConfig",
    "Spec",
    "StudentCGN",
    "Teacher",
    "UserError",
    "__version__",
    "audit",
    "compose",
    "compose_batches",
    "cure",
    "distill",
    "evaluate_cgn",
    "evaluate_classifier",
    "load_student",
    "load_teacher",
    "progress_bars",
    "record",
    "run_mnist",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'skdcgn' has no attribute {name!r}")
    return getattr(import_module(f"skdcgn.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
