"""Plots of the reports, as inline SVG: bars, curves over steps, means in bands of their deviation, dots per row.

Every axis has a label with its unit. The page holds the legends, which :class:`Key` describes.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from markupsafe import Markup

from skdcgn.report.svg import ACCENT, BAR, INK, LINES, MUTED, POINTS, RULE, VARIABLES, Line, Mark, inline, panel, style
from skdcgn.results.statistics import with_deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = dict[str, tuple[list[float], list[float]]]  # by name: steps, values
Spread = dict[str, list[tuple[float, float, float]]]  # by name: place, mean, deviation
Levels = dict[str, tuple[float, float]]  # by name: mean, deviation
Colors = tuple[str, ...]  # of lines, in turn

FAR = 8.0  # places so many times apart get a logarithmic axis
TICKS_APART = 0.15  # least distance of two numbers on it, as a share of its length
STEEP = 20.0  # losses so many times apart get a logarithmic axis
NICE = [1, 2, 2.5, 5, 10]
LETTER = 4.1 / POINTS  # inches, the mean width of a letter of 7.5 points
DASHED: Any = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (3, 2))}


class Bar(NamedTuple):
    """One bar: its label, its length, that value as text, and a note on it."""

    label: str
    value: float
    text: str
    note: str = ""


class Key(NamedTuple):
    """One entry of a legend: what is drawn in this colour, a CSS variable, and in which form."""

    label: str
    color: str
    form: Literal["line", "dashed", "bar", "band", "dot", "tick"] = "line"


def line_keys(labels: Sequence[str]) -> list[Key]:
    """Return the legend of lines drawn in this order; colours repeat after five."""
    return [Key(label, VARIABLES[LINES[index % len(LINES)]]) for index, label in enumerate(labels)]


def bars(
    name: str,
    alt: str,
    rows: Sequence[Bar],
    *,
    axis: str,
    limit: float,
    highlight: str | None = None,
    reference: float | None = None,
) -> Markup:
    """Draw a line for each bar: its label, its value as text, and the bar on an axis from 0 to ``limit``.

    The bar labelled ``highlight`` has the accent colour; ``reference`` is a dashed line across all bars, which then
    stand on a track as long as the axis.
    """
    with style():
        left = 0.25 + LETTER * (max(len(row.label) for row in rows) + max(len(row.text) for row in rows))
        height, below = 0.215 * len(rows) + 0.34, 0.34
        figure, axes = panel(3.6, height, left=left, right=3.5, bottom=below, top=height)
        axes.set(xlim=(0, limit), ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel=axis)
        axes.spines[:].set_visible(False)
        axes.grid(axis="x")
        _number(axes.xaxis)
        colors = [ACCENT if row.label == highlight else BAR for row in rows]
        if reference is not None:
            axes.barh(range(len(rows)), limit, 0.6, color=RULE, linewidth=0)
            axes.axvline(reference, **DASHED, zorder=3)
        axes.barh(range(len(rows)), [row.value for row in rows], 0.6, color=colors, linewidth=0)
        properties: Any = {"va": "center", "color": INK, "transform": axes.get_yaxis_transform()}
        for place, row in enumerate(rows):
            axes.text(-left / (3.5 - left), place, row.label, ha="left", **properties)
            axes.text(-0.03, place, row.text, ha="right", **properties)
        lines = [
            Line(color, row.label, [Mark(row.value, place, row.text, row.note)])
            for place, (color, row) in enumerate(zip(colors, rows, strict=True))
        ]
        return inline(figure, name, alt, lines, along="y")


def curves(
    name: str,
    alt: str,
    series: Series,
    *,
    title: str,
    axis: str,
    to_text: Callable[[float], str],
    limit: float | None = None,
    reference: float | None = None,
) -> Markup:
    """Draw values over steps, one line per name, from 0 to ``limit``; ``reference`` is a dashed level.

    ``axis`` names the values; ``to_text`` prints one. Line n has the colour ``--line-n``, in the order of ``series``,
    again from 1 after 5.
    """
    with style():
        figure, axes = panel(2.3, 1.8, left=0.55, right=2.25, bottom=0.4, top=1.54)
        axes.set_title(title)
        _label(axes, "step", axis)
        lines = []
        for index, (label, (steps, values)) in enumerate(series.items()):
            color = LINES[index % len(LINES)]
            axes.plot(steps, values, color=color, linewidth=1.2)
            points = zip(steps, values, strict=True)
            lines.append(Line(color, label, [Mark(x, y, to_text(y), f"step {x:,}") for x, y in points]))
        if reference is not None:
            axes.axhline(reference, **DASHED)
        _scale(axes, [value for _, values in series.values() for value in values], limit)
        return inline(figure, name, alt, lines, along="x")


def bands(
    name: str, alt: str, series: Spread, levels: Levels, *, title: str, axis: str, limits: tuple[float, float]
) -> Markup:
    """Draw accuracy over places, a line per name in a band of one deviation; far places get a logarithmic axis.

    Means are drawn between ``limits``, so that panels side by side compare. What holds at every place is one of
    ``levels``, a line across. Colours are in the order of levels, then series, one that is empty here included.
    """
    with style():
        figure, axes = panel(2.3, 1.8, left=0.46, right=2.16, bottom=0.42, top=1.54)
        axes.set(title=title, ylim=limits)
        _label(axes, axis, "accuracy, %")
        return inline(figure, name, alt, draw_bands(axes, series, levels, axis=axis), along="x")


def draw_bands(axes: "Axes", series: Spread, levels: Levels, *, axis: str, colors: Colors = LINES) -> list[Line]:
    """Draw what :func:`bands` shows on ``axes``; return the marks."""
    every = sorted({place for values in series.values() for place, _, _ in values})
    lines = _across(axes.axhline, axes.axhspan, levels, lambda mean: (every[-1], mean), colors)
    for color, (label, values) in zip(colors[len(levels) :], series.items(), strict=False):
        if not values:
            continue
        places, means, deviations = (list(column) for column in zip(*values, strict=True))
        axes.plot(places, means, color=color, linewidth=1.2, marker="o", markersize=2.5)
        low, high = ([m + sign * d for m, d in zip(means, deviations, strict=True)] for sign in (-1, 1))
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
        lines.append(Line(color, label, [Mark(x, m, with_deviation(m, d), f"{axis} {x:,g}") for x, m, d in values]))
    if every[0] > 0 and every[-1] > FAR * every[0]:
        axes.set_xscale("log")
        numbered = far_apart(every)
        axes.set_xticks(every, [f"{place:,g}" if place in numbered else "" for place in every])
        axes.set_xticks([], minor=True)
    return lines


def far_apart(places: Sequence[float]) -> list[float]:
    """Return the first of increasing, positive ``places``, and each whose number has room on a logarithmic axis."""
    numbered, least = [places[0]], TICKS_APART * math.log(places[-1] / places[0])
    for place in places[1:]:
        if math.log(place / numbered[-1]) >= least:
            numbered.append(place)
    return numbered


def dots(name: str, alt: str, rows: Sequence[str], series: Spread, levels: Levels) -> Markup:
    """Draw accuracy along a line per row, a dot per name with its deviation; places are indices of ``rows``.

    Levels and colours are as in :func:`bands`.
    """
    with style():
        height, below = 0.5 + 0.24 * len(rows), 0.42
        left = min(LETTER * max(map(len, rows)) + 0.17, 2.16)
        figure, axes = panel(3.6, height, left=left, right=3.5, bottom=below, top=height)
        return inline(figure, name, alt, draw_dots(axes, rows, series, levels), along="y")


def draw_dots(
    axes: "Axes", rows: Sequence[str], series: Spread, levels: Levels, *, colors: Colors = LINES
) -> list[Line]:
    """Draw what :func:`dots` shows on ``axes``; return the marks."""
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy out of domain, %")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(axis="x")
    lines = _across(axes.axvline, axes.axvspan, levels, lambda mean: (mean, 0.0), colors)
    for index, (color, (label, values)) in enumerate(zip(colors[len(levels) :], series.items(), strict=False)):
        if not values:
            continue
        places, means, deviations = (list(column) for column in zip(*values, strict=True))
        shifted = [place + 0.12 * (index - (len(series) - 1) / 2) for place in places]
        axes.errorbar(means, shifted, xerr=deviations, fmt="o", color=color, markersize=3.5, elinewidth=1)
        names = [rows[int(place)] for place in places]
        points = zip(means, shifted, deviations, names, strict=True)
        lines.append(Line(color, label, [Mark(m, y, with_deviation(m, d), row) for m, y, d, row in points]))
    return lines


def _across(
    line: Callable[..., Any],
    band: Callable[..., Any],
    levels: Levels,
    place: Callable[[float], tuple[float, float]],
    colors: Colors,
) -> list[Line]:
    """Draw each level as a line across the axes in a band of its deviation; return their marks, at ``place(mean)``."""
    lines = []
    for color, (label, (mean, deviation)) in zip(colors, levels.items(), strict=False):
        line(mean, color=color, linewidth=1.2)
        band(mean - deviation, mean + deviation, color=color, alpha=0.15, linewidth=0)
        lines.append(Line(color, label, [Mark(*place(mean), with_deviation(mean, deviation), "")]))
    return lines


def _label(axes: "Axes", x: str, y: str) -> None:
    """Name both axes, the vertical one at the left edge of the figure, whatever its numbers."""
    axes.set(xlabel=x, ylabel=y)
    left, width = axes.get_position().x0, axes.get_position().width
    axes.yaxis.set_label_coords(-0.8 * left / width, 0.5)


def _scale(axes: "Axes", values: list[float], limit: float | None) -> None:
    """Start both axes at zero, but show losses that differ much on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axes.set_xlim(left=0)
    _number(axes.xaxis, integer=True)
    if limit is None and min(values) > 0 and max(values) > STEEP * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(min(0.0, *values), limit)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=NICE))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _number(axis: Any, *, integer: bool = False) -> None:
    """Put a few round numbers on an axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4, steps=NICE, integer=integer))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
