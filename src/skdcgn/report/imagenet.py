"""``report.html`` of a run on photographs: what its ensembles follow, what the student draws and costs."""

from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.presets import IMAGENET_RUNS
from skdcgn.evaluation.scores import HeadScores
from skdcgn.report.figures import Figure, run_figures
from skdcgn.report.page import run_values, write_page
from skdcgn.report.tables import ratios
from skdcgn.report.words import UNKNOWN, count, imagenet_summary
from skdcgn.results.records import ImageNetResults, read_results

HEADS = ("ensemble", "shape", "texture", "background")
BY_HEAD = "shape bias"  # the measure that has a line for each head


class Line(NamedTuple):
    """One measure: its name, over how many images, and its value by what the ensemble was trained on."""

    measure: str
    images: str
    values: list[str]


class Cost(NamedTuple):
    """What a CGN costs: parameters, counterfactuals per second, and of the student their ratios to the teacher's."""

    name: str
    parameters: str
    size_ratio: str
    speed: str
    speed_ratio: str

    def __str__(self) -> str:
        size = f"{self.parameters} ({self.size_ratio})" if self.size_ratio else self.parameters
        speed = f"{self.speed} ({self.speed_ratio})" if self.speed_ratio else self.speed
        return f"{self.name}: parameters {size}, counterfactuals/s {speed}"


def write_imagenet_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; return its path."""
    results = read_results(run, ImageNetResults)
    return write_page(
        run,
        "imagenet.html",
        **run_values(run, results, ImageNetConfig(), IMAGENET_RUNS),
        summary=imagenet_summary(results),
        costs=costs(results),
        trained_on=list(results.ensembles),
        lines=lines(results),
        figures={**run_figures(run, results), "classifiers": Figure([], [])},
    )


def lines(results: ImageNetResults) -> list[Line]:
    """Return a line per measure, and for shape bias one per head, with a value per ensemble."""
    ensembles = results.ensembles
    return [
        Line(
            _with_head(measure, head) if measure == BY_HEAD else measure,
            count(first.images),
            [ensembles[name][measure].text(head) for name in ensembles],
        )
        for measure, first in next(iter(ensembles.values()), dict[str, HeadScores]()).items()
        for head in (HEADS if measure == BY_HEAD else HEADS[:1])
    ]


def _with_head(measure: str, head: str) -> str:
    return f"{measure}, {head}" if head == HEADS[0] else f"{measure}, {head} head"


def costs(results: ImageNetResults) -> list[Cost]:
    """Return what teacher and student cost."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    teacher = count(sizes.teacher) if sizes.teacher else UNKNOWN
    return [
        Cost("teacher", teacher, "", count(speeds.teacher), ""),
        Cost("student", count(sizes.student), ratios(results)[0], count(speeds.student), ratios(results)[1]),
    ]
