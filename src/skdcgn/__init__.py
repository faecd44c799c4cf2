"""skdcgn: distill Counterfactual Generative Networks into tiny students, and train classifiers on what they draw.

    teacher = skdcgn.load_teacher("double-colored-digits")
    student = skdcgn.distill(teacher, "runs/mine")
    images = skdcgn.compose(student, n=1000, per_shape=10, seed=0).images

The names below are imported when first used, so that the command line can show its help without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdcgn.base.errors import UserError
    from skdcgn.cgn.compose import Counterfactuals, compose
    from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, Teacher
    from skdcgn.students.distill import distill
    from skdcgn.students.generator import StudentCGN
    from skdcgn.teachers.load import load_student, load_teacher

__version__ = "0.1.0"

_HOMES = {
    "Counterfactuals": "cgn.compose",
    "Layers": "cgn.mechanism",
    "Mechanism": "cgn.mechanism",
    "Spec": "cgn.mechanism",
    "StudentCGN": "students.generator",
    "Teacher": "cgn.mechanism",
    "UserError": "base.errors",
    "compose": "cgn.compose",
    "distill": "students.distill",
    "load_student": "teachers.load",
    "load_teacher": "teachers.load",
}

__all__ = [
    "Counterfactuals",
    "Layers",
    "Mechanism",
    "Spec",
    "StudentCGN",
    "Teacher",
    "UserError",
    "__version__",
    "compose",
    "distill",
    "load_student",
    "load_teacher",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skdcgn' has no attribute {name!r}")
    return getattr(import_module(f"skdcgn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
