"""Figures of a study: a panel per curve, dots for points without an order."""

from collections.abc import Sequence

from markupsafe import Markup

from skdcgn.report.figures import Figure
from skdcgn.report.plots import Key, Spread, bands, dots, line_keys
from skdcgn.report.study_points import PointAccuracy, sources, teacher_level, without_level

MARGIN = 0.05  # above and below the drawn values, as a share of their range


def study_figure(accuracies: Sequence[PointAccuracy], axis: str) -> Figure:
    """Draw a panel per curve, or one of dots; the level of a teacher whom no change touches is a line across.

    Nothing for heat maps, which are tables.
    """
    if not accuracies or any(one.point.cell for one in accuracies):
        return Figure([], [])
    level, points = teacher_level(accuracies), without_level(accuracies)
    levels = {one.source: (one.mean, one.deviation) for one in level}
    limits = accuracy_limits(accuracies)
    panels: list[Markup] = []
    for curve in dict.fromkeys(one.point.curve for one in points):
        own = [one for one in points if one.point.curve == curve]
        alt = "; ".join(
            [*(f"{one.source}: {one}" for one in level), *(f"{one.source}, {one.point.name}: {one}" for one in own)]
        )
        if curve:
            series = {source: curve_places(own, source) for source in sources(points)}
            panels.append(
                bands(f"curve-{len(panels)}", alt, series, levels, title=curve, axis=axis, limits=limits),
            )
        else:
            panels.append(dots(f"dots-{len(panels)}", alt, *dot_places(own, sources(points)), levels))
    return Figure(panels, _legend([*levels, *sources(points)], accuracies))


def _legend(names: list[str], accuracies: Sequence[PointAccuracy]) -> list[Key]:
    keys = line_keys([f"trained on: {name}" for name in names])
    deviation = Key("± one standard deviation over seeds", "--muted", "band")
    return [*keys, deviation] if any(one.deviation for one in accuracies) else keys


def accuracy_limits(accuracies: Sequence[PointAccuracy]) -> tuple[float, float]:
    """Return limits that hold every mean and its deviation, the same for every panel."""
    low = min(one.mean - one.deviation for one in accuracies)
    high = max(one.mean + one.deviation for one in accuracies)
    margin = MARGIN * (high - low or 1.0)
    return low - margin, high + margin


def curve_places(points: Sequence[PointAccuracy], source: str) -> list[tuple[float, float, float]]:
    """Return (place on the curve, mean, deviation) of each point of ``source``."""
    return [(one.point.at, one.mean, one.deviation) for one in points if one.source == source]


def dot_places(points: Sequence[PointAccuracy], names: Sequence[str]) -> tuple[list[str], Spread]:
    """Return the rows, a point each, and (row, mean, deviation) of each point by source."""
    rows = list(dict.fromkeys(one.point.name for one in points))
    series: Spread = {
        source: [(float(rows.index(one.point.name)), one.mean, one.deviation) for one in points if one.source == source]
        for source in names
    }
    return rows, series
