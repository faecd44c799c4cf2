"""``report.html`` of a run on photographs: what its ensembles follow, what the student draws and costs."""

from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.presets import IMAGENET_RUNS
from skdcgn.report.figures import Figure, run_figures
from skdcgn.report.page import run_values, write_page
from skdcgn.report.tables import ratios
from skdcgn.report.words import NOTHING, UNKNOWN, count, imagenet_summary
from skdcgn.results.records import ImageNetResults, read_results

HEADS = ("ensemble", "shape", "texture", "background")
BY_HEAD = "shape bias"  # the measure that has a line for each head


class Line(NamedTuple):
    """One measure: its name, over how many images, and its value by what the ensemble was trained on."""

    measure: str
    images: str
    values: list[str]


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
            [_percent(ensembles[name][measure].percent.get(head)) for name in ensembles],
        )
        for measure, first in next(iter(ensembles.values())).items()
        for head in (HEADS if measure == BY_HEAD else HEADS[:1])
    ]


def _with_head(measure: str, head: str) -> str:
    return f"{measure}, {head}" if head == HEADS[0] else f"{measure}, {head} head"


def costs(results: ImageNetResults) -> list[tuple[str, str, str]]:
    """Return (name, parameters, counterfactuals per second) of teacher and student."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    smaller, faster = ratios(results)
    size = f"{count(sizes.student)} ({smaller})" if smaller else count(sizes.student)
    return [
        ("teacher", count(sizes.teacher) if sizes.teacher else UNKNOWN, count(speeds.teacher)),
        ("student", size, f"{count(speeds.student)} ({faster})"),
    ]


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"
