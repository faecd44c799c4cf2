"""``report.html`` of a study: its question, findings in sentences made from the numbers, figures and a table.

The report of a miniature (``record.quick``) has a banner and no findings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from skdcgn.report.page import write_page
from skdcgn.report.study_figures import study_figure
from skdcgn.report.study_points import PointAccuracy, columns, point_accuracies, sources
from skdcgn.report.study_words import findings, stopped_trainings
from skdcgn.report.words import NOTHING, count
from skdcgn.results.records import read_study
from skdcgn.results.statistics import with_deviation
from skdcgn.results.study_record import PixelL1Summary, PointSummary, StudyRecord


def write_study_report(folder: Path) -> Path:
    """Write ``folder/report.html`` from ``folder/study.json``; return its path."""
    record = read_study(folder)
    accuracies = point_accuracies(record)
    return write_page(
        folder,
        "study.html",
        record=record,
        findings=[] if record.quick else findings(accuracies, record.axis),
        stopped=stopped_trainings(record),
        one_seed=len({score.seed for score in record.scores}) == 1,
        figure=study_figure(accuracies, record.axis),
        columns=columns(accuracies),
        maps=heat_maps(accuracies),
        rows=rows(record),
    )


class Cell(NamedTuple):
    """Accuracy, and the points gained or lost against the point without a cell: as words, and the loss from 0 to 1."""

    accuracy: str
    difference: str
    heat: float


def heat_maps(accuracies: Sequence[PointAccuracy]) -> dict[str, dict[str, list[Cell | None]]]:
    """Return, by source and row, a cell per column, None where the study has no such point; empty without cells."""
    maps: dict[str, dict[str, list[Cell | None]]] = {}
    for source in sources(accuracies):
        own = {one.point.cell: one for one in accuracies if one.source == source}
        if None not in own or len(own) == 1:
            continue
        plain = own[None].mean
        maps[source] = {
            row: [_cell(own.get((row, column)), plain) for column in columns(accuracies)]
            for row in dict.fromkeys(cell[0] for cell in own if cell)
        }
    return maps


def _cell(one: PointAccuracy | None, plain: float) -> Cell | None:
    if one is None:
        return None
    loss = plain - one.mean
    return Cell(f"{one.mean:.1f}", f"{-loss:+.1f}", min(max(loss / plain, 0.0), 1.0))


def rows(record: StudyRecord) -> list[list[str]]:
    """Return the table: point, source, parameters, accuracy, L1 over the label mean's by mechanism, Frechet distance.

    Where students were timed, a last cell has their speeds, see :func:`speed_ratios`.
    """
    speeds = record.counterfactuals_per_second
    return [[*_cells(row), *([speed_ratios(row, speeds)] if speeds else [])] for row in record.summary]


def _cells(row: PointSummary) -> list[str]:
    shares = " / ".join(_share(l1) for l1 in row.pixel_l1.values())
    distance = row.frechet_distance
    return [
        row.point,
        row.source,
        count(row.parameters) if row.parameters else NOTHING,
        with_deviation(row.ood_accuracy.mean, row.ood_accuracy.deviation),
        shares or NOTHING,
        with_deviation(distance.mean, distance.deviation, ".3f") if distance else NOTHING,
    ]


def _share(l1: PixelL1Summary) -> str:
    return f"{l1.student.mean / l1.label_mean.mean:.2f}" if l1.label_mean.mean else NOTHING


def speed_ratios(row: PointSummary, speeds: dict[str, dict[str, float]]) -> str:
    """Say how many times the eager teacher's counterfactuals per second a student draws, eager and by ONNX Runtime."""
    if row.source != "student":
        return NOTHING
    student, eager = speeds[row.point], speeds["teacher"]["eager"]
    return " / ".join(f"{student[form] / eager:.1f}" for form in ("eager", "onnx-fp32") if form in student)
