"""Figures of the report: SVG to be inlined in HTML, the same bytes for the same numbers, coloured by the page.

Matplotlib draws with a few placeholder colours, each of which becomes a CSS variable; text stays text in the
font of the page. So one drawing reads in light and dark, and a screen reader or a search finds its words.

Each drawing carries its marks, ``data-marks``: where in the drawing a value stands, and what the page's script says of
it to a reader who points there. They are placed by the axes that drew them, and so cannot differ from the drawing.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from skdcgn.report.words import with_deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, tuple[list[float], list[float]]]


class Bar(NamedTuple):
    """One bar: what it is called, its length, that value as it is printed, and what more there is to say of it."""

    label: str
    value: float
    shown: str
    note: str = ""


class Mark(NamedTuple):
    """A value in a drawing: its place on the axes, and how value and place are told."""

    x: float
    y: float
    shown: str
    place: str


Marks = list[tuple[str, str, list[Mark]]]  # by line or bar: colour, name, its marks


INK, MUTED, RULE, BAR, ACCENT = "#010101", "#010102", "#010103", "#010104", "#010105"
LINES = ("#010106", "#010107", "#010108", "#010109", "#01010a")
POINTS = 72  # per inch: what an SVG counts in
FAR = 8.0  # places so many times apart get a logarithmic axis
NICE = [1, 2, 2.5, 5, 10]
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    BAR: "--bar",
    ACCENT: "--accent",
    **{color: f"--line-{number}" for number, color in enumerate(LINES, 1)},
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titlepad": 7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "font.size": 7.5,
}


def bars(
    name: str,
    alt: str,
    rows: Sequence[Bar],
    *,
    limit: float,
    highlight: str | None = None,
    reference: float | None = None,
) -> Markup:
    """Draw a line for each bar: its label, its value, and the bar on a scale up to ``limit``.

    The bar labelled ``highlight`` has the accent colour; ``reference`` is a dashed line across all bars, which then
    stand on a track as long as the scale.
    """
    text: Any = {"va": "center", "fontsize": 7.5, "color": INK}
    with _style():
        left = 0.34
        figure, axes = _panel(3.6, 0.215 * len(rows), left=left, right=1.0, bottom=0.0, top=1.0)
        axes.set(xlim=(0, limit), ylim=(len(rows) - 0.5, -0.5))
        axes.set_axis_off()
        marks: Marks = []
        for place, (label, value, shown, note) in enumerate(rows):
            color = ACCENT if label == highlight else BAR
            marks.append((color, label, [Mark(value, place, shown, note)]))
            axes.barh(place, value, 0.6, color=color, linewidth=0)
            axes.text(-left / (1 - left), place, label, transform=axes.get_yaxis_transform(), ha="left", **text)
            axes.text(-0.03, place, shown, transform=axes.get_yaxis_transform(), ha="right", **text)
        if reference is not None:
            axes.barh(range(len(rows)), limit, 0.6, color=RULE, linewidth=0, zorder=0)
            axes.axvline(reference, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        return _inline(figure, name, alt, marks, along="y")


def curves(
    name: str,
    alt: str,
    title: str,
    series: Series,
    *,
    shown: Callable[[float], str],
    limit: float | None = None,
    reference: float | None = None,
) -> Markup:
    """Draw values over steps, one line per name, from 0 to ``limit``; ``reference`` is a dashed level.

    ``shown`` prints a value.

    The page holds the legend: line n has the colour ``--line-n``, in the order of ``series``, again from 1 after 5.
    """
    with _style():
        figure, axes = _panel(2.15, 1.6, left=0.15, right=0.985, bottom=0.14, top=0.85)
        axes.set_title(title, color=INK)
        marks: Marks = []
        for color, (label, (steps, values)) in zip(
            LINES * (1 + len(series) // len(LINES)), series.items(), strict=False
        ):
            axes.plot(steps, values, color=color, linewidth=1.2, label=label)
            told = [
                Mark(step, value, shown(value), f"step {step:,}") for step, value in zip(steps, values, strict=True)
            ]
            marks.append((color, label, told))
        if reference is not None:
            axes.axhline(reference, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        _scale(axes, [value for _, values in series.values() for value in values], limit)
        return _inline(figure, name, alt, marks, along="x")


Spread = dict[str, list[tuple[float, float, float]]]  # by name: place, mean, deviation
Levels = dict[str, tuple[float, float]]  # by name: mean, deviation


def bands(
    name: str,
    alt: str,
    title: str,
    axis: str,
    series: Spread,
    limits: tuple[float, float],
    levels: Levels,
) -> Markup:
    """Draw means over places, a line per name in a band of one deviation; places far apart get a logarithmic axis.

    Means are drawn between ``limits``, so that panels beside each other compare. What holds at every place is one of
    ``levels``, a line across. Colours are in the order of levels, then series, one that is empty here included.
    """
    with _style():
        figure, axes = _panel(2.6, 1.9, left=0.13, right=0.95, bottom=0.21, top=0.88)
        axes.set_title(title, color=INK)
        axes.set_xlabel(axis, fontsize=7)
        axes.set_ylim(limits)
        every = sorted({place for values in series.values() for place, _, _ in values})
        marks = _across(axes.axhline, axes.axhspan, levels, lambda mean: (every[-1], mean))
        for color, (label, values) in zip(LINES[len(levels) :], series.items(), strict=False):
            if not values:
                continue
            places, means, away = (list(column) for column in zip(*values, strict=True))
            axes.plot(places, means, color=color, linewidth=1.2, marker="o", markersize=2.5, label=label)
            marks.append((color, label, [Mark(at, m, with_deviation(m, d), f"{axis} {at:,g}") for at, m, d in values]))
            low, high = ([m + sign * d for m, d in zip(means, away, strict=True)] for sign in (-1, 1))
            axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
        if every[0] > 0 and every[-1] > FAR * every[0]:
            axes.set_xscale("log")
            axes.set_xticks(every, [f"{place:,g}" for place in every])
            axes.set_xticks([], minor=True)
        return _inline(figure, name, alt, marks, along="x")


def dots(name: str, alt: str, rows: Sequence[str], series: Spread, levels: Levels) -> Markup:
    """Draw a line per row with a dot per name and its deviation; places are indices of ``rows``.

    Levels and colours are as in :func:`bands`.
    """
    with _style():
        width, height, below = 3.6, 0.35 + 0.24 * len(rows), 0.35
        letters = 4.1 * max(map(len, rows))  # points, nearly enough
        left = min((letters + 12) / (width * POINTS), 0.6)
        figure, axes = _panel(width, height, left=left, right=0.985, bottom=below / height, top=1.0)
        marks = _across(axes.axvline, axes.axvspan, levels, lambda mean: (mean, 0.0))
        for index, (color, (label, values)) in enumerate(zip(LINES[len(levels) :], series.items(), strict=False)):
            if not values:
                continue
            places, means, away = (list(column) for column in zip(*values, strict=True))
            shifted = [place + 0.12 * (index - (len(series) - 1) / 2) for place in places]
            axes.errorbar(means, shifted, xerr=away, fmt="o", color=color, markersize=3.5, elinewidth=1, label=label)
            told = zip(means, shifted, away, places, strict=True)
            marks.append((color, label, [Mark(m, y, with_deviation(m, d), rows[int(at)]) for m, y, d, at in told]))
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x")
        return _inline(figure, name, alt, marks, along="y")


def _across(
    line: Callable[..., Any], band: Callable[..., Any], levels: Levels, place: Callable[[float], tuple[float, float]]
) -> Marks:
    """Draw each level as a line across the axes in a band of its deviation; return their marks, at ``place(mean)``."""
    marks: Marks = []
    for color, (label, (mean, away)) in zip(LINES, levels.items(), strict=False):
        line(mean, color=color, linewidth=1.2)
        band(mean - away, mean + away, color=color, alpha=0.15, linewidth=0)
        marks.append((color, label, [Mark(*place(mean), with_deviation(mean, away), "")]))
    return marks


def _scale(axes: "Axes", values: list[float], limit: float | None) -> None:
    """Start both axes at zero, but show losses that differ twentyfold on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, steps=NICE, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.set_xlim(left=0)
    if limit is None and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(min(0.0, *values), limit)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=NICE))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


@contextmanager
def _style() -> Iterator[None]:
    """Use the report's style over matplotlib's defaults, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _panel(
    width: float, height: float, *, left: float, right: float, bottom: float, top: float
) -> "tuple[Figure, Axes]":
    """Return a figure of ``width`` x ``height`` inches and axes that fill the given fractions of it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=POINTS)
    return figure, figure.add_axes((left, bottom, right - left, top - bottom))


def _inline(figure: "Figure", name: str, alt: str, marks: Marks, *, along: Literal["x", "y"]) -> Markup:
    """Return the figure as an <svg> element whose ids begin with ``name`` and that is read aloud as ``alt``.

    A reader who points at it is told the mark that is nearest first of all in the direction ``along``.
    """
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = name
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    for pattern, replacement in (
        (r"(?s)^.*?<svg.*?(viewBox=\"[^\"]*\").*?>", rf'<svg role="img" aria-label="{_literal(alt)}" \1>'),
        (r"(?s)\s*<(metadata|style).*?</\1>", ""),
        (r"\bid=\"", f'id="{name}-'),
        (r"url\(#", f"url(#{name}-"),
        (r"xlink:href=\"#", f'href="#{name}-'),
        (r"font: ([\d.]+px)[^;\"]*", r"font-size: \1"),
        (r"font-family: [^;\"]*;? ?", ""),
    ):
        svg = re.sub(pattern, replacement, svg)
    svg = svg.replace("<svg ", f"<svg data-along=\"{along}\" data-marks='{_placed(figure, marks)}' ", 1)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return Markup(svg.strip())


def _placed(figure: "Figure", marks: Marks) -> Markup:
    """Return the marks as JSON for an attribute: [colour, name, [[x, y, value, place], ...]] in the drawing's units."""
    (axes,) = figure.axes
    drawn = [
        (color, name, [mark for mark in own if isfinite(mark.x) and isfinite(mark.y)]) for color, name, own in marks
    ]

    def at(mark: Mark) -> list[float | str]:
        x, y = axes.transData.transform((mark.x, mark.y))
        return [round(float(x), 1), round(float(figure.bbox.height - y), 1), mark.shown, mark.place]

    listed = [[VARIABLES[color], name, [at(mark) for mark in own]] for color, name, own in drawn if own]
    return htmlsafe_json_dumps(listed, ensure_ascii=False, separators=(",", ":"))


def _literal(text: str) -> str:
    """Escape ``text`` for an attribute, and for use as a replacement in a regular expression."""
    return str(escape(text)).replace("\\", r"\\")
