"""``figure.png`` of a study, for documents: the plots of its report in one picture; of a timed study its trade-offs."""

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from skdcgn.base.files import write_bytes
from skdcgn.report.plots import Levels, draw_bands, draw_dots
from skdcgn.report.study_figures import accuracy_limits, curve_places, dot_places
from skdcgn.report.study_points import PointAccuracy, columns, point_accuracies, sources, teacher_level, without_level
from skdcgn.report.svg import INK, MUTED, RULE, style
from skdcgn.results.study_record import PointSummary, StudyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {INK: "#1d1f21", MUTED: "#63666a", RULE: "#e4e4df"}
LINES = ("#1c5d99", "#b3541e", "#4d7c3a", "#8a4f8f", "#7d7a2c")
MARKERS = "Dv^os"
ORDER = ("teacher", "student", "oracle", "biased")  # of colours, the same in all figures
ACCURACY = "accuracy out of domain, %"


def save_study_figure(record: StudyRecord, path: Path) -> Path | None:
    """Draw a study as a PNG; return its path, or None if no point has an accuracy."""
    if not record.summary:
        return None
    with style(COLORS):
        figure = trade_offs(record) if record.counterfactuals_per_second else panels(record)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    write_bytes(path, picture.getvalue())
    return path


def panels(record: StudyRecord) -> "Figure":
    """Draw a panel per curve, per column of a heat map, or one for points without an order."""
    from matplotlib.figure import Figure

    accuracies = point_accuracies(record)
    points, groups = without_level(accuracies), panel_points(accuracies)
    names = sorted(sources(points), key=ORDER.index)
    levels = {one.source: (one.mean, one.deviation) for one in teacher_level(accuracies)}
    along = any(one.point.curve for one in points)
    rows = max(len({one.point.name for one in own}) for own in groups.values())
    size = (2.7 * len(groups), 2.4) if along else (1.9 + 2.2 * len(groups), 1.0 + 0.24 * rows)
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(1, len(groups), squeeze=False, sharey=along)[0]
    for axes, (title, own) in zip(all_axes, groups.items(), strict=True):
        axes.set_title(title)
        if along:
            axes.set(ylim=accuracy_limits(accuracies), xlabel=record.axis)
            series = {source: curve_places(own, source) for source in names}
            draw_bands(axes, series, levels, axis=record.axis, colors=LINES)
        else:
            draw_dots(axes, *dot_places(own, names), levels, colors=LINES)
    if along:
        all_axes[0].set_ylabel(ACCURACY)
    _add_legend(figure, [*levels, *names])
    return figure


def panel_points(accuracies: Sequence[PointAccuracy]) -> dict[str, list[PointAccuracy]]:
    """Return the points of each panel by its title; in a heat map, those without a cell stand in every column."""
    points = without_level(accuracies)
    titles = columns(accuracies) or list(dict.fromkeys(one.point.curve for one in points))
    if not columns(accuracies):
        return {title: [one for one in points if one.point.curve == title] for title in titles}
    return {title: [one for one in points if one.point.cell is None or one.point.cell[1] == title] for title in titles}


def _add_legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, marker="o", markersize=3) for color, _ in zip(LINES, names, strict=False)]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)


def trade_offs(record: StudyRecord) -> "Figure":
    """Draw accuracy over size and over speed; a line joins the Pareto-optimal students."""
    from matplotlib.figure import Figure

    speeds = record.counterfactuals_per_second or {}
    students = [row for row in record.summary if row.source == "student"]
    levels = {one.source: (one.mean, one.deviation) for one in teacher_level(point_accuracies(record))}
    form = "onnx-fp32" if all("onnx-fp32" in speeds[row.point] for row in students) else "eager"
    sizes = {row.point: float(row.parameters or 0) for row in students}
    ratios = {row.point: speeds[row.point][form] / speeds["teacher"]["eager"] for row in students}
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    draw_trade_off(left, students, sizes, levels, label="parameters of the three mechanisms", less_is_better=True)
    faster = f"counterfactuals/s ({form}), times the eager teacher's"
    draw_trade_off(right, students, ratios, levels, label=faster, less_is_better=False)
    left.set_ylabel(ACCURACY)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6), frameon=False)
    return figure


def draw_trade_off(
    axes: "Axes",
    students: Sequence[PointSummary],
    places: dict[str, float],
    levels: Levels,
    *,
    label: str,
    less_is_better: bool,
) -> None:
    """Draw the accuracy of each student at its place on a logarithmic axis, and the teacher's as a line across."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for name, (mean, deviation) in levels.items():
        axes.axhline(mean, color=LINES[0], linewidth=1, label=name)
        axes.axhspan(mean - deviation, mean + deviation, color=LINES[0], alpha=0.15, linewidth=0)
    for marker, row in zip(cycle(MARKERS), students, strict=False):
        accuracy = row.ood_accuracy
        axes.errorbar(
            places[row.point],
            accuracy.mean,
            yerr=accuracy.deviation,
            fmt=marker,
            color=LINES[1],
            elinewidth=1,
            capsize=2,
            markersize=4,
            label=row.point,
        )
    best = front([(places[row.point], row.ood_accuracy.mean) for row in students], less_is_better=less_is_better)
    axes.plot(*zip(*best, strict=True), color=COLORS[MUTED], linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15)
    axes.set_xlabel(label)


def front(points: Sequence[tuple[float, float]], *, less_is_better: bool) -> list[tuple[float, float]]:
    """Return the Pareto-optimal points: a higher second, and a lower (or higher) first one."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, reverse=not less_is_better):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best
