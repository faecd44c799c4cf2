"""What the command line shows: progress bars, and the tables that its commands end with.

torch is imported inside the functions, so that ``--help`` answers at once.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from skdcgn.base.config import RunConfig
from skdcgn.base.progress import logger, progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from skdcgn.base.progress import Watch
    from skdcgn.evaluation.attribution import Axioms
    from skdcgn.results.records import MnistResults
    from skdcgn.results.study_record import StudyRecord

SHOWN_CLASSES = 20
out_console, err_console = Console(), Console(stderr=True)


class StandardError(logging.Handler):
    """Writes each record as a line to the standard error stream of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        print(level + record.getMessage(), file=sys.stderr, flush=True)


HANDLER = StandardError()  # one, however often main() is called


def log_to_standard_error(level: int) -> None:
    """Show what the library logs at this level and above."""
    logger.setLevel(level)
    logger.addHandler(HANDLER)


def watching() -> AbstractContextManager["Watch"]:
    """Show a bar per task in a terminal; in a pipe, a line a minute and one when a task ends."""
    return progress_bars(err_console)


def point_to(what: str, path: Path) -> None:
    """Print where ``what`` was written, on one line however long."""
    out_console.print(f"{what}: {escape(str(path))}", soft_wrap=True)


def new_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> "Table":
    """Return a table whose columns of words are followed by columns of numbers, to the right."""
    from rich.table import Table

    table = Table(title=title)
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def show_table(results: "MnistResults", config: RunConfig) -> None:
    """Print the main table, each accuracy beside what the recipe's card lets one expect."""
    from skdcgn.results.expected import bands, table

    shown = new_table(
        f"{results.preset}, seed {results.seed}",
        ["trained on"],
        ["parameters", "images/s", "out-of-domain accuracy", "expected, %"],
    )
    expected = bands(config)
    for row in table(results, expected):
        shown.add_row(*row)
    out_console.print(shown)
    if not expected:
        print("expected: no card was measured with this preset, data and budget")


def show_study(record: "StudyRecord") -> None:
    """Print a row per point and source, its mean beside the band that was measured before and the paper's number."""
    from skdcgn.report.words import with_deviation
    from skdcgn.results.expected import bands
    from skdcgn.results.published import published_accuracy
    from skdcgn.results.study_record import lay_points

    title = f"{record.study}, {record.preset}"
    shown = new_table(title, ["point", "trained on"], ["out-of-domain accuracy, %", "expected, %", "paper, %"])
    points = lay_points(record.base, record.points, record.teaching)
    known = {point.name: (point, bands(point.config, point.teach)) for point in points}
    for row in record.summary:
        point, expected = known[row.point]
        band = expected.get(row.source)
        paper = None if point.teach else published_accuracy(point.config, row.source)
        shown.add_row(
            row.point,
            row.source,
            with_deviation(row.ood_accuracy.mean, row.ood_accuracy.deviation),
            band.verdict(row.ood_accuracy.mean) if band else "-",
            f"{paper:.1f}" if paper else "-",
        )
    out_console.print(shown)


def show_imagenet(folder: Path) -> None:
    """Print what the CGNs of a run cost; then a row per measure with a column per ensemble; shape bias by head too."""
    from skdcgn.report.imagenet import costs, lines
    from skdcgn.results.records import ImageNetResults, read_results

    results = read_results(folder, ImageNetResults)
    for name, size, speed in costs(results):
        print(f"{name}: parameters {size}, counterfactuals/s {speed}")
    shown = new_table(f"{results.preset}, seed {results.seed}", ["%"], ["images", *results.ensembles])
    for line in lines(results):
        shown.add_row(line.measure, line.images, *line.values)
    out_console.print(shown)
    if results.stand_in:
        print("the teacher drew the real images too: the numbers show that the path works, nothing else")


def show_confusion(counts: list[list[int]]) -> None:
    """Print, of the images of each class, the percent that are taken for each; too many classes are not printed."""
    if len(counts) > SHOWN_CLASSES:
        return
    classes = [str(label) for label in range(len(counts))]
    shown = new_table("taken for, %", ["class"], classes)
    for label, row in zip(classes, counts, strict=True):
        shown.add_row(label, *(f"{100 * count / max(sum(row), 1):.0f}" if count else "" for count in row))
    out_console.print(shown)


def show_quality(found: "Axioms") -> None:
    """Print the four axioms of counterfactuals: effectiveness and minimality by what varied, then the other two."""
    classified = list(found.effectiveness["none"])
    shown = new_table("effectiveness: labels that classifiers find, %", ["varied"], [*classified, "minimality"])
    for varied, judged in found.effectiveness.items():
        minimal = f"{found.minimality[varied]:.3f}" if varied in found.minimality else "-"
        shown.add_row(varied, *(f"{value:.1f}" for value in judged.values()), minimal)
    out_console.print(shown)
    print(f"composition {found.composition:.2g} (mean L1 between two answers to the same question)")
    print(f"realism: {found.realism}")


def show_bench(told: dict[str, Any]) -> None:
    """Print how many counterfactuals a second each form draws, and how many times the eager teacher's."""
    title = f"counterfactuals per second, {told['device']}, {told['threads']} threads"
    shown = new_table(title, ["form"], ["batch", "per second", "x teacher"])
    for row in told["rows"]:
        rate, ratio = row["counterfactuals_per_second"], row["ratio"]
        shown.add_row(row["form"], str(row["batch"]), f"{rate:,.0f}", f"{ratio:.1f}")
    out_console.print(shown)
