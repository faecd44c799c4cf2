"""``report.html`` of a run on photographs: what its ensembles follow, what the student draws and costs."""

from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.presets import IMAGENET_RUNS
from skdcgn.report.build import common_figures, loss_names, ratios, write_page
from skdcgn.report.words import NOTHING, UNKNOWN, count, imagenet_reading
from skdcgn.results.records import ImageNetResults, read_results

HEADS = ("ensemble", "shape", "texture", "background")
OF_HEADS = "shape bias"  # the measure that is told of each head


class Line(NamedTuple):
    """One measure: its name, of how many images, and its value by what the ensemble was trained on."""

    measure: str
    images: str
    values: list[str]


def write_imagenet_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; return its path."""
    results, names = read_results(run, ImageNetResults), loss_names(run)
    drawn = common_figures(run, results, names)
    return write_page(
        run,
        "imagenet.html",
        results,
        ImageNetConfig(),
        IMAGENET_RUNS,
        reading=imagenet_reading(results),
        costs=costs(results),
        trained_on=list(results.ensembles),
        lines=lines(results),
        figures={"classifiers": [], **{name: [one for one in several if one] for name, several in drawn.items()}},
        legend=names if len(names) > 1 else [],
    )


def lines(results: ImageNetResults) -> list[Line]:
    """Return a line per measure, and for shape bias one per head, with a value per ensemble."""
    told = results.ensembles
    return [
        Line(
            measure if measure != OF_HEADS else f"{measure} of the {'head of ' * (head != HEADS[0])}{head}",
            count(first.images),
            [_shown(told[name][measure].percent.get(head)) for name in told],
        )
        for measure, first in next(iter(told.values())).items()
        for head in (HEADS if measure == OF_HEADS else HEADS[:1])
    ]


def costs(results: ImageNetResults) -> list[tuple[str, str, str]]:
    """Return (name, parameters, counterfactuals per second) of teacher and student."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    smaller, faster = ratios(results)
    size = f"{count(sizes.student)} ({smaller})" if smaller else count(sizes.student)
    return [
        ("teacher", count(sizes.teacher) if sizes.teacher else UNKNOWN, count(speeds.teacher)),
        ("student", size, f"{count(speeds.student)} ({faster})"),
    ]


def _shown(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"
