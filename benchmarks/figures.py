"""Keep what a study found, and draw the README's figure of it: its curves, or what size and speed cost in accuracy.

    skdcgn study shape double-colored-mnist --out runs/dc
    python benchmarks/figures.py runs/dc/shape

The study's record lands in ``benchmarks/results/STUDY-PRESET.json``, the figure in
``docs/results/figures/STUDY-PRESET.png``; what the next one who runs the study may expect of each point in the package,
``src/skdcgn/zoo/expected/STUDY-PRESET.json``. Of a study with ``--teacher`` the first two have its name too, and the
last is not written. Two points get no figure.
"""

import argparse
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from bands import with_band
from matplotlib.ticker import LogLocator, NullFormatter

from skdcgn.base.files import write_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.report.plots import FAR
from skdcgn.report.study_points import PointAccuracy, columns, point_accuracies, teacher_level, without_level
from skdcgn.results.records import read_study
from skdcgn.results.study_record import PointSummary, StudyRecord, lay_points

ROOT = Path(__file__).parents[1]
EXPECTED = ROOT / "src" / "skdcgn" / "zoo" / "expected"
LINES = {"teacher": "#b3541e", "student": "#1f6f8b", "oracle": "#5b7f3a"}
ACCURACY = "out-of-domain accuracy, %"
MARKS = "Dv^os"  # of a student of each size, in turn
SHOWN = 3  # points that a figure shows better than a table does


def front(points: list[tuple[float, float]], *, small: bool) -> list[tuple[float, float]]:
    """Return the points that no other beats in both numbers: more of the second, and less (or more) of the first."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, reverse=not small):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def panel(axes: Any, rows: list[PointSummary], where: dict[str, float], words: str, *, small: bool) -> None:
    for mark, row in zip(cycle(MARKS), rows, strict=False):
        reached, style = row.ood_accuracy, {"color": LINES["student"], "elinewidth": 1, "capsize": 3}
        place, name = where[row.point], row.point
        axes.errorbar(place, reached.mean, yerr=reached.deviation, fmt=mark, label=name, **style)
    best = front([(where[row.point], row.ood_accuracy.mean) for row in rows], small=small)
    axes.plot(*zip(*best, strict=True), color="#999999", linewidth=1, zorder=0)
    logarithmic(axes)
    axes.margins(x=0.15)
    axes.set_xlabel(words)


def logarithmic(axes: Any) -> None:
    """Make the horizontal axis logarithmic, with numbers as one reads them."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def pareto(record: StudyRecord, reached: list[PointAccuracy]) -> Any:
    """Draw accuracy over size and over speed, what no other student beats in both, and what the teacher reaches."""
    rates = record.counterfactuals_per_second
    rows = [row for row in record.summary if row.source == "student"]
    slow = rates["teacher"]["eager"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    sizes = {row.point: row.parameters for row in rows}
    panel(left, rows, sizes, "parameters of the three mechanisms", small=True)
    fast = {name: told["onnx-fp32"] / slow for name, told in rates.items() if name != "teacher"}
    panel(right, rows, fast, "counterfactuals/s (ONNX Runtime), times the eager teacher's", small=False)
    for axes in (left, right):
        level(axes, reached, vertical=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(rows) + 1, frameon=False)
    return figure


def level(axes: Any, reached: list[PointAccuracy], *, vertical: bool) -> None:
    """Draw what the teacher reaches, if students alone were changed, as a line across, in a band of its deviation."""
    line, band = (axes.axvline, axes.axvspan) if vertical else (axes.axhline, axes.axhspan)
    for one in teacher_level(reached):
        line(one.mean, color=LINES["teacher"], linewidth=1, zorder=0, label="teacher")
        band(
            one.mean - one.deviation,
            one.mean + one.deviation,
            color=LINES["teacher"],
            alpha=0.12,
            linewidth=0,
            zorder=0,
        )


def dots(reached: list[PointAccuracy]) -> Any:
    """Draw a line per point, from top to bottom, for points that have no order: accuracy along it."""
    names = list(dict.fromkeys(one.point.name for one in reached))
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.32 * len(names)), layout="constrained")
    for aside, (source, colour) in zip((0.1, -0.1, 0.0), LINES.items(), strict=True):
        own = [one for one in without_level(reached) if one.source == source]
        if not own:
            continue
        means, away = [one.mean for one in own], [one.deviation for one in own]
        places = [names.index(one.point.name) - aside for one in own]
        axes.errorbar(means, places, xerr=away, fmt="o", markersize=4, color=colour, capsize=3, label=source)
    level(axes, reached, vertical=True)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(ACCURACY)
    axes.legend(frameon=False)
    return figure


def panels(reached: list[PointAccuracy], axis: str) -> Any:
    """Draw a panel per curve, a line per source; or, of a heat map, one per column, with the plain point in each."""
    across = columns(reached)
    names = across or list(dict.fromkeys(one.point.curve for one in reached))
    size = (3.6 * len(names), 3.2)
    figure, (drawn,) = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, title in zip(drawn, names, strict=True):
        shown = [
            one
            for one in without_level(reached)
            if title == (one.point.cell[1] if one.point.cell else one.point.curve or title)
        ]
        for aside, (source, colour) in zip((-0.08, 0.08, 0.0), LINES.items(), strict=True):
            own = [one for one in shown if one.source == source]
            if not own:
                continue
            places = [index + aside if across else one.point.at for index, one in enumerate(own)]
            means, away = [one.mean for one in own], [one.deviation for one in own]
            style = {"color": colour, "linestyle": "none" if across else "-", "marker": "o", "markersize": 4}
            axes.errorbar(places, means, yerr=away, capsize=3, label=source, **style)
        axes.set_title(title, fontsize=10)
        level(axes, reached, vertical=False)
        if not across and max(one.point.at for one in shown) > FAR * min(one.point.at for one in shown) > 0:
            logarithmic(axes)
            axes.set_xticks(places, [f"{place:,g}" for place in places])
        if across:
            words = list(dict.fromkeys(one.point.cell[0] if one.point.cell else one.point.name for one in shown))
            axes.set_xticks(range(len(words)), words)
            axes.set_xlim(-0.5, len(words) - 0.5)
        else:
            axes.set_xlabel(axis)
    candidates = drawn[::-1] if across else drawn
    max(candidates, key=lambda axes: len(axes.get_legend_handles_labels()[1])).legend(frameon=False)
    return figure


def draw(record: StudyRecord) -> Any:
    """Draw what a study found, as its points ask for."""
    reached = point_accuracies(record)
    if record.counterfactuals_per_second:
        figure = pareto(record, reached)
    elif any(one.point.curve or one.point.cell for one in reached):
        figure = panels(reached, record.axis)
    else:
        return dots(reached)
    figure.axes[0].set_ylabel(ACCURACY)
    return figure


def expected(record: StudyRecord) -> dict[str, Any]:
    """Return the changes of each point, how its CGN is taught if it has one of its own, and the band of each source."""
    taught = {point.name: point.teach for point in lay_points(record.base, record.points, record.teaching)}
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for row in record.summary:
        if len(row.seeds) == 1:
            continue  # no deviation, no band
        rows.setdefault(row.point, {})[row.source] = with_band(**to_dict(row.ood_accuracy), count=len(row.seeds))
    return {
        "command": record.command,
        "base": to_dict(record.base),
        "points": [
            {
                "name": plan.name,
                "changes": plan.changes,
                **({"teach": to_dict(config)} if (config := taught[plan.name]) else {}),
                "out_of_domain_accuracy_percent": rows[plan.name],
            }
            for plan in record.points
            if plan.name in rows
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="its folder, which holds study.json")
    record = read_study(parser.parse_args().study)
    teacher = record.base.teacher
    own = teacher == run_preset(record.preset).teacher
    kept = "-".join([record.study, record.preset, *([] if own else [Path(teacher).stem])])
    write_json(ROOT / "benchmarks" / "results" / f"{kept}.json", to_dict(record))
    if own:  # what to expect is told of the preset's teacher alone
        write_json(EXPECTED / f"{kept}.json", expected(record))
    if len({row.point for row in record.summary}) < SHOWN:
        return
    figure = draw(record)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(ROOT / "docs" / "results" / "figures" / f"{kept}.png", dpi=110)


if __name__ == "__main__":
    main()
