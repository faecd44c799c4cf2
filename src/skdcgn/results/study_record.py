"""The record of a study, ``study.json``: its question, its points and their changes, its scores.

The report, the terminal's table and the benchmarks read nothing else. No torch here: the help lists the studies.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import FailFast
from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Measure, Parameters, Percent, Seed, Speed
from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.errors import UserError, shown
from skdcgn.base.records import override
from skdcgn.evaluation.scores import PixelL1
from skdcgn.results.notebook import html_table
from skdcgn.results.statistics import MeanDeviation, with_deviation

Changes = dict[str, Any]  # values by the dotted paths of a configuration


@dataclass(frozen=True)
class StudyPoint:
    """One point of a study.

    Args:
        changes: to the study's run configuration.
        sources: training sets of its classifiers: of ``biased``, ``teacher``, ``student``, ``oracle``.
        curve: the curve that the point lies on, if its points differ in a number.
        at: that number.
        teach: changes to the study's teaching configuration, if the CGN is taught again for this point.
        cell: row and column in a heat map, whose point without one is the undistorted one.
    """

    name: str
    changes: Changes
    sources: tuple[str, ...] = ("student",)
    curve: str = ""
    at: Measure = 0.0
    teach: Changes | None = None
    cell: tuple[str, str] | None = None


class PointConfig(NamedTuple):
    """The configuration of a point: its run, the training sets of its classifiers, and the teaching of its CGN."""

    name: str
    config: RunConfig
    sources: tuple[str, ...] = ("student",)
    teach: TeachConfig | None = None


def lay_points(base: RunConfig, points: Sequence[StudyPoint], teaching: TeachConfig | None = None) -> list[PointConfig]:
    """Lay the changes of each point over ``base``, and over ``teaching`` where the CGN is taught again."""
    return [
        PointConfig(
            point.name,
            override(base, point.changes, point.name),
            point.sources,
            None if point.teach is None else override(teaching or TeachConfig(), point.teach, point.name),
        )
        for point in points
    ]


@dataclass(frozen=True)
class PointScore:
    """The score of one point, one source and one seed.

    Args:
        ood_accuracy: in percent; None if the training was stopped.
        parameters: of the CGN; None if they are unknown, or there is no CGN.
        pixel_l1: by mechanism; of a student alone.
        frechet_distance: of a student's counterfactuals to its teacher's.
        stopped: why the training was stopped.
    """

    point: str
    source: str
    seed: Seed
    ood_accuracy: Percent | None
    parameters: Parameters | None
    pixel_l1: dict[str, PixelL1]
    frechet_distance: Measure | None = None
    stopped: str = ""


@dataclass(frozen=True)
class PixelL1Summary:
    """:class:`PixelL1` over the seeds."""

    student: MeanDeviation
    label_mean: MeanDeviation


@dataclass(frozen=True)
class PointSummary:
    """One point and source over the seeds that came to an end."""

    point: str
    source: str
    seeds: tuple[Seed, ...]
    parameters: Parameters | None
    ood_accuracy: MeanDeviation
    pixel_l1: dict[str, PixelL1Summary]
    frechet_distance: MeanDeviation | None = None


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """All results of a study.

    Args:
        study: its name.
        preset: whose configuration the points change.
        axis: the quantity that points of one curve differ in.
        base: that configuration; paths without their folders.
        teaching: the configuration that a point's ``teach`` changes.
        counterfactuals_per_second: by CGN, ``teacher`` or a point's name, and by form; None if they were not timed.
        quick: whether the study is a miniature, whose numbers compare with no others.
    """

    command: str
    study: str
    preset: str
    question: str
    axis: str
    quick: bool
    base: RunConfig
    teaching: TeachConfig
    points: Annotated[tuple[StudyPoint, ...], FailFast()]
    summary: Annotated[tuple[PointSummary, ...], FailFast()]
    scores: Annotated[tuple[PointScore, ...], FailFast()]
    counterfactuals_per_second: dict[str, dict[str, Speed]] | None = None
    versions: dict[str, str]

    def __post_init__(self) -> None:
        names = {point.name for point in self.points}
        for name in [row.point for row in self.summary] + [one.point for one in self.scores]:
            if name not in names:
                raise UserError(f"{shown(name)} has scores, and is none of its points")
        speeds = self.counterfactuals_per_second
        timed = {row.point for row in self.summary if row.source == "student"} | {"teacher"} if speeds else set()
        if speeds and not all("eager" in speeds.get(name, {}) for name in timed):
            raise UserError("counterfactuals_per_second leaves out a student or the teacher")

    def _repr_html_(self) -> str:
        """Return a row per point and training set as a table, for notebooks."""
        rows = [
            (one.point, one.source, with_deviation(one.ood_accuracy.mean, one.ood_accuracy.deviation))
            for one in self.summary
        ]
        caption = f"{'Miniature, not comparable: ' if self.quick else ''}{self.question}"
        return html_table(caption, ["point", "trained on", "out-of-domain accuracy, %"], rows)
