"""What the command line shows: progress, log lines, and the tables that its verbs end with.

torch is imported inside the functions, so that ``--help`` answers at once.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcgn.base.errors import as_line
from skdcgn.base.progress import Watch, logger, progress_bars, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from skdcgn.base.config import RunConfig
    from skdcgn.deploy.bench import BenchResults
    from skdcgn.evaluation.attribution import Axioms
    from skdcgn.evaluation.audit_record import AuditRecord
    from skdcgn.evaluation.scores import HeadScores
    from skdcgn.experiments.doctor import Finding
    from skdcgn.experiments.evaluate import CGNEvaluation
    from skdcgn.experiments.evaluate_classifier import ClassifierEvaluation
    from skdcgn.results.photo_record import PhotosResults
    from skdcgn.results.records import ImageNetResults, MnistResults
    from skdcgn.results.study_record import StudyRecord

MOST_CLASSES = 20  # of a confusion table that is printed
MINIATURE = "MINIATURE: small budgets, one seed; its numbers compare with no others"


class StandardError(logging.Handler):
    """Writes each record as a line to the standard error stream of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        print(level + as_line(record.getMessage()), file=sys.stderr, flush=True)


HANDLER = StandardError()  # one, however often main() is called


def log_to_standard_error(level: int) -> None:
    """Show what the library logs at this level and above."""
    logger.setLevel(level)
    logger.addHandler(HANDLER)


@contextmanager
def progress() -> Iterator[Watch]:
    """Show a bar per task in a terminal; in a pipe, a line a minute and one when a task ends; nothing if quiet."""
    if not logger.isEnabledFor(logging.INFO):
        yield silent
        return
    with progress_bars() as watch:
        yield watch


def place_of(device: str) -> str:
    """Return the name of the device that ``auto``, ``cpu`` or ``cuda`` is here."""
    from skdcgn.training.train import make_accelerator

    return str(make_accelerator(device).device)


def save_numbers(out: Path | None, numbers: Any) -> None:
    """Write the numbers to a JSON file, if one is asked for."""
    if out:
        from skdcgn.base.files import write_json
        from skdcgn.base.records import to_dict

        write_json(out, to_dict(numbers))


def point_to(name: str, path: Path, more: str = "") -> None:
    """Print where something was written, on one line however long."""
    print(f"{name}: {path} {more}".rstrip())


def output() -> "Console":
    """Return the console of the standard output stream."""
    from rich.console import Console

    return Console()


def new_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> "Table":
    """Return a table whose columns of words are followed by columns of numbers, to the right."""
    from rich.table import Table

    table = Table(title=title)
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def show_mnist(results: "MnistResults", config: "RunConfig") -> None:
    """Print the main table, each accuracy with the band of its recipe's card."""
    from skdcgn.results.expected import bands, table

    shown = new_table(
        f"{results.preset}, seed {results.seed}",
        ["trained on"],
        ["parameters", "images/s", "out-of-domain accuracy", "expected, %"],
    )
    expected = bands(config)
    for row in table(results, expected):
        shown.add_row(*row)
    output().print(shown)
    if not expected:
        print("expected: no card was measured with this preset, data and budget")


def show_study(record: "StudyRecord") -> None:
    """Print a row per point and source: its mean and, unless it is a miniature, the band and the paper's number."""
    from skdcgn.results.statistics import with_deviation

    if record.quick:
        print(MINIATURE)
    compared = [] if record.quick else ["expected, %", "paper, %"]
    title, accuracy = f"{record.study}, {record.preset}", "out-of-domain accuracy, %"
    shown = new_table(title, ["point", "trained on"], [accuracy, *compared])
    comparisons = [()] * len(record.summary) if record.quick else _comparisons(record)
    for row, columns in zip(record.summary, comparisons, strict=True):
        mean = with_deviation(row.ood_accuracy.mean, row.ood_accuracy.deviation)
        shown.add_row(row.point, row.source, mean, *columns)
    output().print(shown)


def _comparisons(record: "StudyRecord") -> Iterator[tuple[str, str]]:
    """Yield, of each row of the summary, whether its mean lies in the expected band, and the paper's number."""
    from skdcgn.results.expected import bands
    from skdcgn.results.published import published_accuracy
    from skdcgn.results.study_record import lay_points

    points = lay_points(record.base, record.points, record.teaching)
    by_name = {point.name: (point, bands(point.config, point.teach)) for point in points}
    for row in record.summary:
        point, expected = by_name[row.point]
        band = expected.get(row.source)
        paper = None if point.teach else published_accuracy(point.config, row.source)
        yield band.verdict(row.ood_accuracy.mean) if band else "-", f"{paper:.1f}" if paper else "-"


def show_imagenet(results: "ImageNetResults") -> None:
    """Print size and speed of the CGNs; then a row per metric with a column per ensemble; shape bias by head too."""
    from skdcgn.report.imagenet import costs
    from skdcgn.results.head_lines import cue_scope, head_lines

    for cost in costs(results):
        print(cost)
    shown = new_table(f"{results.preset}, seed {results.seed}", ["%"], ["images", *results.ensembles])
    for line in head_lines(results.ensembles):
        shown.add_row(line.measure, line.images, *(value.stacked for value in line.values))
    output().print(shown)
    if scope := cue_scope(next(iter(results.ensembles.values()), {})):
        print(scope)
    if results.stand_in:
        print("the teacher drew the real images too: the numbers show only that every stage works")


def show_photos(results: "PhotosResults") -> None:
    """Print a row per classifier with a column per measure, and what each was trained on."""
    from skdcgn.report.photos import COLUMNS, photo_lines

    title, headings = f"{results.preset}, seed {results.seed}, %", list(COLUMNS.values())
    shown, lines = new_table(title, ["trained on"], headings), photo_lines(results, tuple(COLUMNS))
    for line in lines:
        shown.add_row(line.name, *line.values)
    output().print(shown)
    for line in lines:
        print(f"{line.name}: {line.meaning}")
    if results.synthetic:
        print("the photographs are drawings: the numbers show only that every stage works")


def show_classifier(evaluation: "ClassifierEvaluation") -> None:
    """Print accuracy and confusion, if they were measured; the scores on folders of photographs; sensitivity."""
    from skdcgn.results.head_lines import classifier_sentence, cue_scope

    if evaluation.ood_accuracy is not None:
        print(f"out-of-domain accuracy on {evaluation.test}: {evaluation.ood_accuracy:.2f} %")
        show_confusion(evaluation.confusion, evaluation.names)
    for metric, scores in evaluation.scores.items():
        print(classifier_sentence(metric, scores))
    if scope := cue_scope(evaluation.scores):
        print(scope)
    for mechanism, one in evaluation.sensitivity.items():
        print(
            f"{mechanism} varied: {one.accuracy:.1f} % right, {one.unchanged:.1f} % unchanged, "
            f"{one.followed:.1f} % followed it"
        )


def show_confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Print, of the images of each class, the percent that are taken for each; too many classes are not printed.

    Columns whose names do not fit into the terminal are headed by the numbers of the classes.
    """
    if len(counts) > MOST_CLASSES:
        return
    from rich.markup import escape

    words = [escape(name) for name in names]
    rows, columns = words, words
    if sum(len(name) + 3 for name in (max(names, key=len), *names)) >= output().width:
        columns = [str(number) for number in range(len(names))]
        rows = [f"{number} {word}" for number, word in enumerate(words)]
    shown = new_table("predicted class, %", ["class"], columns)
    for label, row in zip(rows, counts, strict=True):
        shown.add_row(label, *(f"{100 * count / max(sum(row), 1):.0f}" if count else "" for count in row))
    output().print(shown)


def show_audit(record: "AuditRecord") -> None:
    """Print a row per mechanism and subset with its noise floor, the warnings, and the verdict."""
    from skdcgn.report.audit_words import spaced

    columns = ["flip", "follow", "accuracy", "agree", "floor"]
    pictures = f"{record.images:,} base pictures{' of whole objects' if record.whole else ''}"
    title = f"reaction to a new label, {pictures}, seed {record.seed}, %; floor: flip by new noise"
    shown = new_table(title, ["mechanism"], columns)
    for name, one in (record.mechanisms | record.subsets).items():
        values = (one.accuracy.value, one.agree.value, record.noise_floor[name].flip.value)
        shown.add_row(spaced(name), one.flip.text(), one.follow.text(), *(f"{value:.1f}" for value in values))
    output().print(shown)
    for name, layer in record.carried.items():
        print(f"{name} carries its class in {layer.value:.0f} % (guessing: {layer.chance:.3g} %)")
    for warning in record.warnings:
        logger.warning(warning)
    print(f"verdict: {record.verdict}")


def show_cgn(evaluation: "CGNEvaluation") -> None:
    """Print agreement with pairs, distances and axioms."""
    for mechanism, one in evaluation.pairs.items():
        print(f"{mechanism}: L1 {one.l1:.4f}, PSNR {one.psnr:.2f} dB, SSIM {one.ssim:.3f} ({one.pairs:,} pairs)")
    for number in evaluation.distances.values():
        print(number)
    if evaluation.axioms:
        show_axioms(evaluation.axioms)


def show_axioms(axioms: "Axioms") -> None:
    """Print the four axioms of counterfactuals: effectiveness and minimality by what varied, then the other two."""
    mechanisms = list(axioms.effectiveness["none"])
    shown = new_table("effectiveness: labels that classifiers predict, %", ["varied"], [*mechanisms, "minimality"])
    for varied, percents in axioms.effectiveness.items():
        minimal = f"{axioms.minimality[varied]:.3f}" if varied in axioms.minimality else "-"
        shown.add_row(varied, *(f"{value:.1f}" for value in percents.values()), minimal)
    output().print(shown)
    print(f"composition {axioms.composition:.2g} (mean L1 between two answers to the same query)")
    print(f"realism: {axioms.realism}")


def show_ensemble(scores: Mapping[str, "HeadScores"]) -> None:
    """Print a line per metric and head, and the scope of a shape bias that leaves out cue conflicts."""
    from skdcgn.results.head_lines import cue_scope, head_sentences

    for metric, of_heads in scores.items():
        for sentence in head_sentences(metric, of_heads):
            print(sentence)
    if scope := cue_scope(scores):
        print(scope)


def show_bench(results: "BenchResults") -> None:
    """Print how many counterfactuals a second each form draws, and the ratio to the eager teacher."""
    title = f"counterfactuals per second, {results.device}, {results.threads} threads"
    shown = new_table(title, ["form"], ["batch", "per second", "x teacher"])
    for row in results.rows:
        shown.add_row(row.form, str(row.batch), f"{row.counterfactuals_per_second:,.0f}", f"{row.ratio:.1f}")
    output().print(shown)


def show_finding(finding: "Finding") -> None:
    """Print one line of doctor."""
    from rich.text import Text

    colour = {"ok": "green", "broken": "red"}.get(finding.state, "yellow")
    state, name = Text(f"{finding.state:8} ", style=colour), Text(finding.name, style="bold")
    output().print(Text.assemble(state, name, f": {finding.words}"), soft_wrap=True)
