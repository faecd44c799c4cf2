"""Figures of loading and of scale, with logarithms on both axes, and their tables for the docs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from picture import GREY, INK

FIGURES = Path(__file__).parents[1] / "docs" / "results" / "figures"
COLOURS = {"student": "#0b6e6e", "png": "#c46a12", "jpeg": "#6a4fb3"}
WORDS = {"student": "counterfactuals of a student", "png": "PNG files", "jpeg": "JPEG files"}


def tidy(axes: Axes, x: str, y: str, title: str) -> None:
    """Label the axes, logarithmic both, and take away what carries nothing."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.set_title(title, fontsize=11, color=INK)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of Markdown whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def loading_table(medians: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Return pictures a second by workers and size."""
    rows = [
        [f"{workers}, {size} px", *(f"{own[side]:,.0f}" for side in COLOURS)]
        for workers, sizes in medians.items()
        for size, own in sizes.items()
    ]
    return markdown(["workers, size", *WORDS.values()], rows)


def scale_table(lines: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return seconds and MiB of each way by number."""
    numbers = sorted({point["n"] for points in lines.values() for point in points})
    rows = []
    for name, points in lines.items():
        cells = {point["n"]: f"{point['seconds']:,.3g} s, {point['mebibytes']:,.0f} MiB" for point in points}
        rows.append([name, *(cells.get(n, "") for n in numbers)])
    return markdown(["", *(f"{n:,}" for n in numbers)], rows)


def draw_loading(medians: Mapping[str, Mapping[int, Mapping[str, float]]]) -> None:
    """Draw pictures a second against pixels of a side: a panel for each number of workers."""
    figure, panels = plt.subplots(
        1, len(medians), figsize=(10.5, 3.6), sharey=True, layout="constrained", facecolor="white"
    )
    for axes, (workers, sizes) in zip(panels, medians.items(), strict=True):
        for side, colour in COLOURS.items():
            rates = [own[side] for own in sizes.values()]
            axes.plot(list(sizes), rates, marker="o", color=colour, label=WORDS[side])
        tidy(axes, "pixels of a side", "", "1 worker" if workers == "1" else f"{workers} workers")
        axes.set_xticks(list(sizes), [str(size) for size in sizes], minor=False)
        axes.minorticks_off()
    panels[0].set_ylabel("pictures a second", color=GREY)
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(FIGURES / "loading.png", dpi=110)
    plt.close(figure)


def draw_scale(curves: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> None:
    """Draw seconds, above, and MiB, below, against a number: a panel for each kind of work, a line for each way."""
    figure, rows = plt.subplots(
        2, len(curves), figsize=(10.5, 6.4), sharey="row", layout="constrained", facecolor="white"
    )
    for column, (title, lines) in zip(rows.T, curves.items(), strict=True):
        for name, points in lines.items():
            numbers = [point["n"] for point in points]
            column[0].plot(numbers, [point["seconds"] for point in points], marker="o", label=name)
            column[1].plot(numbers, [point["mebibytes"] for point in points], marker="o", label=name)
        tidy(column[0], "", "", title)
        tidy(column[1], f"number of {title}", "", "")
        column[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    rows[0][0].set_ylabel("seconds", color=GREY)
    rows[1][0].set_ylabel("greatest memory of a process, MiB", color=GREY)
    figure.savefig(FIGURES / "scale.png", dpi=110)
    plt.close(figure)
