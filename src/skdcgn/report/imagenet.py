"""``report.html`` of a run on photographs: what its ensembles follow, what the student draws and costs."""

from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.presets import IMAGENET_RUNS
from skdcgn.report.figures import Figure, run_figures
from skdcgn.report.page import run_values, write_page
from skdcgn.report.tables import ratios
from skdcgn.report.words import UNKNOWN, count, imagenet_summary
from skdcgn.results.head_lines import cue_scope, head_lines
from skdcgn.results.records import ImageNetResults, read_results


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
        lines=head_lines(results.ensembles),
        cue_scope=cue_scope(next(iter(results.ensembles.values()), {})),
        figures={**run_figures(run, results), "classifiers": Figure([], [])},
    )


def costs(results: ImageNetResults) -> list[Cost]:
    """Return what teacher and student cost."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    teacher = count(sizes.teacher) if sizes.teacher else UNKNOWN
    return [
        Cost("teacher", teacher, "", count(speeds.teacher), ""),
        Cost("student", count(sizes.student), ratios(results)[0], count(speeds.student), ratios(results)[1]),
    ]
