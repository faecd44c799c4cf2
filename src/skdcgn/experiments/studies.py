"""The studies by name, the tables that they reproduce, and how a study is made a miniature.

No torch here, as in the presets: the command line lists the studies in its help. The points of the studies are in
:mod:`skdcgn.experiments.student_studies`, :mod:`skdcgn.experiments.composition_studies` and
:mod:`skdcgn.experiments.distortion_studies`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from skdcgn.base.config import RunConfig
from skdcgn.base.errors import find
from skdcgn.base.records import override
from skdcgn.experiments import composition_studies, distortion_studies, student_studies
from skdcgn.results.published import RECIPE
from skdcgn.results.study_record import Changes, StudyPoint


def measured_recipe(base: RunConfig) -> Changes:
    """Return the preset's recipe when all studies but ``main`` were measured, so that their tables can be repeated."""
    epochs = {"classify.epochs": 1} if base.glyphs == "mnist" else {}
    return RECIPE | {"classify.he_init": True, "classify.cooldown": 1.0} | epochs


def own_recipe(base: RunConfig) -> Changes:
    """Change nothing: classifiers are trained as the preset says."""
    return {}


class Study(NamedTuple):
    """One study.

    Args:
        question: what it answers.
        axis: the quantity that the points of one curve differ in; empty without curves.
        points: returns its points for a preset.
        timed: whether the students of its points are timed.
        recipe: returns what it changes of the preset's classifiers.
    """

    name: str
    question: str
    axis: str
    points: Callable[[RunConfig], list[StudyPoint]]
    timed: bool = False
    recipe: Callable[[RunConfig], Changes] = measured_recipe


# fmt: off
STUDIES = {study.name: study for study in (
    Study("main", "Which accuracy do teacher and student reach, under the published composition and the preset's?", "",
          composition_studies.main, recipe=own_recipe),
    Study("losses", "Which losses of distillation improve a student?", "", student_studies.losses),
    Study("queries", "How many queries does a student need?", "queries per mechanism", student_studies.queries),
    Study("masks", "Should a student draw the median or the mean of the masks that fit its input?", "",
          student_studies.masks),
    Study("sizes", "How do size and layout of a student change accuracy and speed?", "", student_studies.sizes,
          timed=True),
    Study("composition", "What is the effect of each step of the preset's composition?", "",
          composition_studies.composition),
    Study("budget", "How many counterfactuals does a classifier need, and how many per shape?", "counterfactuals",
          composition_studies.budget),
    Study("epochs", "What is the effect of the composition if classifiers train longer?", "epochs",
          composition_studies.epochs),
    Study("mixture", "What is the effect of biased real images among the counterfactuals?", "share of real images",
          composition_studies.mixture),
    Study("shape", "What is the effect of distorted shapes in the composition?", "amount", distortion_studies.shape),
    Study("distortions", "How much accuracy does each distortion of each mechanism cost?", "",
          distortion_studies.distortions),
    Study("taught", "What is the effect of teaching the CGN with distorted shapes?", "", distortion_studies.taught),
    Study("correlation", "How much correlation brings the shortcut back?", "share that follows the shape",
          distortion_studies.correlation),
)}
# fmt: on

MNIST = ("colored-mnist", "double-colored-mnist", "wildlife-mnist")
# The study of each table of `skdcgn reproduce`, and the presets that it runs on.
TABLES = {
    "mnist": ("main", MNIST),
    "epochs": ("epochs", MNIST),
    "losses": ("losses", ("double-colored-mnist", "wildlife-mnist")),
    "mixture": ("mixture", ("double-colored-digits",)),
    "shape": ("shape", ("double-colored-mnist",)),
    "taught": ("taught", ("double-colored-mnist",)),
    "correlation": ("correlation", ("double-colored-mnist",)),
    "budget": ("budget", ("double-colored-mnist",)),
    "sizes": ("sizes", ("double-colored-mnist", "wildlife-mnist")),
}
QUICK: Changes = {
    "test_copies": 1,
    "query.shape": 1000,
    "query.texture": 500,
    "query.background": 500,
    "query.held_out": 200,
    "distill.steps": 400,
    "classify.images": 5000,
    "classify.epochs": 3,
    "classify.batch_size": 16,
}


def find_study(name: str) -> Study:
    """Return the study called ``name``; raise UserError that names the nearest."""
    return find("study", name, STUDIES)


def select_points(points: Sequence[StudyPoint], only: Sequence[str]) -> list[StudyPoint]:
    """Return the points whose names are in ``only``, or all if it is empty; raise UserError on an unknown name."""
    by_name = {point.name: point for point in points}
    names = {find("point", name, by_name).name for name in only}
    return [point for point in points if point.name in names or not names]


def find_table(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the study and the presets of the table called ``name``; raise UserError that names the nearest."""
    return find("table", name, TABLES)


def miniature(base: RunConfig) -> RunConfig:
    """Return a miniature of a preset, which takes minutes instead of hours; its numbers compare with no others."""
    return override(base, QUICK)
