"""Figures of an audit: how a classifier reacts to each mechanism, and to how much of a layer is new."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from skdcgn.evaluation.audit_record import MECHANISMS, SUBSETS, AuditRecord, CurvePoint, Interval
from skdcgn.report.audit_words import spaced
from skdcgn.report.figures import Figure
from skdcgn.report.plots import LETTER, Key
from skdcgn.report.svg import ACCENT, BAR, INK, LINES, Line, Mark, inline, panel, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

FLIP, FOLLOW, FLOOR = (
    "the decision changes (flip)",
    "it becomes the new class (follow)",
    "noise alone is new (noise floor)",
)
COLORS = {FLIP: LINES[0], FOLLOW: LINES[1], FLOOR: BAR}
LEGEND = [Key(FLIP, "--line-1", "dot"), Key(FOLLOW, "--line-2", "dot")]
ROWS = (*MECHANISMS, *SUBSETS)
APART, GAP = 0.15, 0.4  # in rows: of flip and follow from the middle, and between mechanisms and subsets
BROAD = 20  # letters of a row's name on one line


class Place(NamedTuple):
    """A share on its row of the figure: the row's name, the height in rows from above, the share."""

    row: str
    y: float
    share: Interval


def reactions_figure(record: AuditRecord) -> Figure:
    """Draw flip and follow of every mechanism and subset as dots with their intervals, and the noise floor in grey."""
    reactions, floors = {**record.mechanisms, **record.subsets}, record.noise_floor
    heights = {name: place + GAP * (name in SUBSETS) for place, name in enumerate(ROWS)}
    alt = "; ".join(
        f"{spaced(name)}: flip {reactions[name].flip.text()}, follow {reactions[name].follow.text()}" for name in ROWS
    )
    with style():
        figure, axes = rows_of_percent(list(heights.values()))
        for label, name in zip(axes.get_yticklabels(), ROWS, strict=True):
            label.set_color(ACCENT if name in record.follows else INK)
        lines = [
            draw_floors(axes, [Place(name, y - APART, floors[name].flip) for name, y in heights.items()]),
            draw_floors(axes, [Place(name, y + APART, floors[name].follow) for name, y in heights.items()]),
            draw_dots(axes, FLIP, [Place(name, y - APART, reactions[name].flip) for name, y in heights.items()]),
            draw_dots(axes, FOLLOW, [Place(name, y + APART, reactions[name].follow) for name, y in heights.items()]),
        ]
        drawing = inline(figure, "reactions", f"Dots with intervals, in percent. {alt}", lines, along="y")
    return Figure([drawing], [*LEGEND, Key(FLOOR, "--bar", "tick")])


def row_name(name: str) -> str:
    """Print the name of a row, on two lines if it is long."""
    words = spaced(name)
    first, _, last = words.rpartition(" + ")
    return words if len(words) <= BROAD else f"{first}\n+ {last}"


def rows_of_percent(heights: Sequence[float]) -> "tuple[Drawing, Axes]":
    """Return a figure with a row at each height, on an axis from 0 to 100 percent."""
    names = list(map(row_name, ROWS))
    broadest = max(len(line) for name in names for line in name.split("\n"))
    below, above = 0.4, 0.5 + 0.3 * (max(heights) + 1)
    figure, axes = panel(3.6, above, left=0.12 + LETTER * broadest, right=3.46, bottom=below, top=above - 0.05)
    axes.set(xlim=(0, 100), ylim=(max(heights) + 0.5, -0.5), xlabel="of the pictures, %")
    axes.set_yticks(heights, names)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    return figure, axes


def draw_dots(axes: "Axes", name: str, places: Sequence[Place]) -> Line:
    """Draw shares as dots with their intervals; return the marks."""
    color, heights = COLORS[name], [one.y for one in places]
    axes.hlines(heights, *_ends(places), color=color, linewidth=1.2)
    axes.plot([one.share.value for one in places], heights, "o", color=color, markersize=3.8, clip_on=False, zorder=3)
    return _line(name, places)


def draw_floors(axes: "Axes", places: Sequence[Place]) -> Line:
    """Draw noise floors as grey ticks, each with its interval as a grey bar behind the dots; return the marks."""
    heights = [one.y for one in places]
    axes.hlines(heights, *_ends(places), color=BAR, linewidth=4, alpha=0.45)
    ticks: Any = {"color": BAR, "markersize": 7, "markeredgewidth": 1.6, "clip_on": False}
    axes.plot([one.share.value for one in places], heights, "|", **ticks)
    return _line(FLOOR, places)


def _ends(places: Sequence[Place]) -> tuple[list[float], list[float]]:
    return [one.share.low for one in places], [one.share.high for one in places]


def _line(name: str, places: Sequence[Place]) -> Line:
    return Line(COLORS[name], name, [Mark(one.share.value, one.y, str(one.share), spaced(one.row)) for one in places])


def curves_figure(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Draw flip and follow over the share of the new layer, a panel per mechanism, in bands of their intervals."""
    panels = [_curve_panel(name, curves[name]) for name in MECHANISMS if curves.get(name)]
    return Figure(panels, [*LEGEND, Key("95 % interval", "--muted", "band")] if panels else [])


def _curve_panel(name: str, points: Sequence[CurvePoint]) -> Markup:
    values = {FLIP: [one.flip for one in points], FOLLOW: [one.follow for one in points]}
    amounts = [100 * one.amount for one in points]
    alt = "; ".join(
        f"at {amount:g} %: flip {one.flip.text()}, follow {one.follow.text()}"
        for amount, one in zip(amounts, points, strict=True)
    )
    with style():
        figure, axes = panel(2.3, 1.8, left=0.46, right=2.16, bottom=0.42, top=1.54)
        axes.set(title=spaced(name), xlim=(0, 100), ylim=(0, 100), xlabel="share of the new layer, %")
        axes.set_ylabel("of the pictures, %")
        axes.set_xticks(range(0, 101, 25))
        axes.set_yticks(range(0, 101, 25))
        lines = [_curve(axes, label, amounts, own) for label, own in values.items()]
        return inline(figure, f"amount-{name}", f"{spaced(name)}, in percent: {alt}", lines, along="x")


def _curve(axes: "Axes", label: str, amounts: Sequence[float], values: Sequence[Interval]) -> Line:
    """Draw one curve and its band; they start at 0, since nothing is new there and nothing changes."""
    color, places = COLORS[label], [0.0, *amounts]
    lows, means, highs = ([0.0, *side] for side in zip(*((v.low, v.value, v.high) for v in values), strict=True))
    axes.fill_between(places, lows, highs, color=color, alpha=0.18, linewidth=0)
    axes.plot(places, means, color=color, linewidth=1.2)
    axes.plot(places[1:], means[1:], "o", color=color, markersize=2.8, clip_on=False, zorder=3)
    points = zip(amounts, values, strict=True)
    return Line(color, label, [Mark(x, one.value, str(one), f"{x:g} % of the new layer") for x, one in points])
