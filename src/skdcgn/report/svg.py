"""From matplotlib's axes to SVG inside HTML: the same bytes for the same numbers, coloured by the page.

Matplotlib draws with placeholder colours; in the parsed tree each becomes a CSS variable, and text stays text in the
font of the page. So one drawing reads in light and dark, and a screen reader or a search finds its words.

Each drawing carries its marks in ``data-marks``: where in the drawing a value stands, and what the page's script says
of it to a reader who points there. The axes that drew the values place the marks.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, BAR, ACCENT = "#010101", "#010102", "#010103", "#010104", "#010105"
LINES = ("#010106", "#010107", "#010108", "#010109", "#01010a")
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    BAR: "--bar",
    ACCENT: "--accent",
    **{color: f"--line-{number}" for number, color in enumerate(LINES, 1)},
}
POINTS = 72  # per inch: the unit of an SVG
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 7,
    "axes.labelpad": 3,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titlepad": 7,
    "axes.titlecolor": INK,
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


class Mark(NamedTuple):
    """A value in a drawing: its place on the axes, and value and place in words."""

    x: float
    y: float
    value: str
    place: str


class Line(NamedTuple):
    """The marks of one line or bar, with its colour and its name."""

    color: str
    name: str
    marks: list[Mark]


@contextmanager
def style(colors: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Use the report's style over matplotlib's defaults, whatever the user's matplotlibrc says.

    ``colors`` replaces placeholder colours in a drawing that no page colours.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({key: colors.get(value, value) for key, value in STYLE.items()})
        yield


def panel(
    width: float, height: float, *, left: float, right: float, bottom: float, top: float
) -> "tuple[Figure, Axes]":
    """Return a figure of ``width`` x ``height`` inches, and axes between these edges, in inches from left and below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=POINTS)
    return figure, figure.add_axes((left / width, bottom / height, (right - left) / width, (top - bottom) / height))


def inline(figure: "Figure", name: str, alt: str, lines: list[Line], *, along: Literal["x", "y"]) -> Markup:
    """Return the figure as an <svg> element that a screen reader reads as ``alt``.

    Args:
        name: of the figure, unique in its page: ids are hashes of it.
        along: the direction in which a mark must be near, before the other, to be the one that a reader points at.
    """
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = name
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    tree = ElementTree.fromstring(buffer.getvalue())
    svg = _html(tree, _targets(tree))
    svg.attrib = {
        "role": "img",
        "aria-label": alt,
        "viewBox": tree.attrib["viewBox"],
        "data-along": along,
        "data-marks": _places(figure, lines),
    }
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _targets(tree: Element) -> set[str]:
    """Return the ids that anything in the drawing refers to."""
    shapes = {node.attrib[f"{XLINK}href"].removeprefix("#") for node in tree.iter(f"{SVG}use")}
    clips = {node.attrib["clip-path"] for node in tree.iter() if "clip-path" in node.attrib}
    return shapes | {clip.removeprefix("url(#").removesuffix(")") for clip in clips}


def _html(node: Element, targets: set[str]) -> Element:
    """Return a copy of ``node`` for HTML: no namespaces, no style sheet, only the ids in ``targets``."""
    attributes = {key.removeprefix(XLINK): value for key, value in node.items() if key != "id" or value in targets}
    if "style" in attributes:
        attributes["style"] = _css(attributes["style"])
    copy = Element(node.tag.removeprefix(SVG), attributes)
    copy.text = node.text if node.text and not node.text.isspace() else None
    copy.extend([_html(child, targets) for child in node if child.tag != f"{SVG}style"])
    return copy


def _css(style: str) -> str:
    """Return the declarations of a ``style`` attribute in the page's colours, and of a font only its size."""
    declarations = [declaration.strip().split(": ", 1) for declaration in style.split(";") if declaration.strip()]
    return "; ".join(
        f"font-size: {_font_size(value)}" if key == "font" else f"{key}: {_color(value)}" for key, value in declarations
    )


def _font_size(font: str) -> str:
    return next(part for part in font.split() if part.endswith("px"))


def _color(value: str) -> str:
    return f"var({VARIABLES[value]})" if value in VARIABLES else value


def _places(figure: "Figure", lines: list[Line]) -> str:
    """Return the marks as JSON: [colour, name, [[x, y, value, place], ...]] per line, in the drawing's units."""
    (axes,) = figure.axes
    height = figure.bbox.height

    def place(mark: Mark) -> list[float | str]:
        x, y = axes.transData.transform((mark.x, mark.y))
        return [round(float(x), 1), round(float(height - y), 1), mark.value, mark.place]

    finite = [line._replace(marks=[m for m in line.marks if isfinite(m.x) and isfinite(m.y)]) for line in lines]
    listed = [[VARIABLES[line.color], line.name, list(map(place, line.marks))] for line in finite if line.marks]
    return json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
