"""``report.html`` of a run on MNIST or digits: what classifiers reach, what the student draws and costs."""

from pathlib import Path

from skdcgn.base.config import RunConfig
from skdcgn.base.presets import RUNS
from skdcgn.report.figures import mnist_figures
from skdcgn.report.page import run_values, write_page
from skdcgn.report.tables import rows
from skdcgn.report.words import summary, verdict
from skdcgn.results.records import MnistResults, read_results


def write_mnist_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; return its path."""
    results = read_results(run, MnistResults)
    return write_page(
        run,
        "mnist.html",
        **run_values(run, results, RunConfig(), RUNS),
        summary=summary(results),
        verdict=verdict(results.ood_accuracy),
        rows=rows(results),
        figures=mnist_figures(run, results),
    )
