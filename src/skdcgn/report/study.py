"""``report.html`` of a study: its question, what was found in sentences made from the numbers, figures and a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from skdcgn.base.files import write_bytes
from skdcgn.report import figures
from skdcgn.report.build import templates
from skdcgn.report.words import NOTHING, count, with_deviation
from skdcgn.results.records import read_study
from skdcgn.results.study_record import PointSummary, StudyPoint, StudyRecord

MARGIN = 0.05  # around what is drawn, of its range
CLEAR = 2.0  # differences of so many of their own standard deviations are called clear


class Reached(NamedTuple):
    """Accuracy of one point and source in percent: mean and deviation over seeds."""

    plan: StudyPoint
    source: str
    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{with_deviation(self.mean, self.deviation)} %"


def write_study_report(out: Path) -> Path:
    """Write ``out/report.html`` from ``out/study.json``; return its path."""
    record = read_study(out)
    reached = reached_points(record)
    page = (
        templates()
        .get_template("study.html")
        .render(
            name=record.study,
            preset=record.preset,
            question=record.question,
            findings=[*findings(reached, record.axis), *stopped(record)],
            one_seed=len({one.seed for one in record.scores}) == 1,
            sources=sources(reached),
            figures=draw(reached, record.axis),
            columns=columns(reached),
            maps=heat_maps(reached),
            rows=rows(record),
            record=record,
        )
    )
    write_bytes(out / "report.html", page.encode())
    return out / "report.html"


def reached_points(record: StudyRecord) -> list[Reached]:
    """Return the accuracy of each point and source, with the point itself."""
    points = {point.name: point for point in record.points}
    return [
        Reached(points[row.point], row.source, row.ood_accuracy.mean, row.ood_accuracy.deviation)
        for row in record.summary
    ]


def sources(reached: Sequence[Reached]) -> list[str]:
    return list(dict.fromkeys(one.source for one in reached))


def untouched(reached: Sequence[Reached]) -> list[Reached]:
    """Return what the teacher reached, if students alone were changed: one point of many has it, and it holds for all.

    Otherwise nothing.
    """
    teachers, students = ([one for one in reached if one.source == source] for source in ("teacher", "student"))
    return teachers if len(teachers) == 1 < len(students) else []


def changed(reached: Sequence[Reached]) -> list[Reached]:
    """Return the rest: what is drawn point by point, beside what is :func:`untouched`."""
    level = untouched(reached)
    return [one for one in reached if one not in level]


# Sentences


def findings(reached: Sequence[Reached], axis: str) -> list[str]:
    """Say in a sentence per curve and source what the points show; then how the student does beside its teacher."""
    said = []
    for source in sources(reached):
        own = [one for one in reached if one.source == source]
        curves = dict.fromkeys(one.plan.curve for one in own)
        for curve in curves:
            line = [one for one in own if one.plan.curve == curve]
            if len(line) > 1:
                said.append(along(line, axis) if curve else worst_of(line) if line[-1].plan.cell else best_of(line))
    level = untouched(reached)
    together = beside(level[0], reached) if level else side_by_side(reached)
    return [*said, together] if together else said


def stopped(record: StudyRecord) -> list[str]:
    """Say which trainings were given up, and why."""
    return [
        f"{one.source.capitalize()}, {one.point}: stopped with seed {one.seed}, for {one.stopped}."
        for one in record.scores
        if one.stopped
    ]


def along(line: Sequence[Reached], axis: str) -> str:
    """Compare the ends of a curve."""
    first, last = line[0], line[-1]
    change = last.mean - first.mean
    sense = "rises" if change > 0 else "falls"
    moved = f"{sense} by {abs(change):.1f} points" if clear(first, last) else "does not change clearly"
    said = (
        f"{first.source.capitalize()}, {first.plan.curve}: accuracy {moved} from {first} at {first.plan.at:,g} "
        f"to {last} at {last.plan.at:,g} ({axis})."
    )
    settled = line[max((place for place, one in enumerate(line) if clear(one, last)), default=-1) + 1]
    if settled in (first, last):
        return said
    return f"{said} From {settled.plan.at:,g} on no more than seeds differ."


def best_of(line: Sequence[Reached]) -> str:
    """Name the best point, and compare it with the first."""
    first, best = line[0], max(line, key=lambda one: one.mean)
    if best is first:
        return f"{best.source.capitalize()}: nothing does better than {best.plan.name} with {best}."
    sure = "" if clear(first, best) else ", no more than seeds differ"
    gain = f"{best.mean - first.mean:.1f} points above {first.plan.name}"
    return f"{best.source.capitalize()}: best is {best.plan.name} with {best}, {gain}{sure}."


def worst_of(line: Sequence[Reached]) -> str:
    """Name what costs most and what costs nothing, beside the plain point, the first."""
    plain, *others = line
    worst = min(others, key=lambda one: one.mean)
    free = [one.plan.name for one in others if not clear(plain, one)]
    spared = f" Seeds hide what {len(free)} of {len(others)} cost." if free else ""
    return f"{plain.source.capitalize()}: {worst.plan.name} costs most, from {plain} to {worst}.{spared}"


def beside(teacher: Reached, reached: Sequence[Reached]) -> str:
    """Say which students lead to as much as their teacher."""
    alike = [one.plan.name for one in reached if one.source == "student" and not clear(one, teacher)]
    return f"The teacher leads to {teacher}; no more than seeds apart from it: {'; '.join(alike) or 'no student'}."


def side_by_side(reached: Sequence[Reached]) -> str:
    """Compare the student with its teacher over the points that have both."""
    pairs = [
        (teacher, student)
        for teacher in reached
        for student in reached
        if (teacher.source, student.source) == ("teacher", "student") and teacher.plan.name == student.plan.name
    ]
    if not pairs:
        return ""
    apart = [student.mean - teacher.mean for teacher, student in pairs]
    mean = sum(apart) / len(apart)
    much = f"{abs(mean):.1f} points {'more' if mean >= 0 else 'less'} than" if abs(mean) >= 0.05 else "as much as"
    than = f"the student leads to {much} its teacher"
    if len(pairs) == 1:
        return f"At {pairs[0][0].plan.name} {than}."
    return f"Over {len(pairs)} points {than} on average, from {min(apart):+.1f} to {max(apart):+.1f}."


def clear(one: Reached, other: Reached) -> bool:
    """Whether two means are further apart than seeds explain."""
    return abs(one.mean - other.mean) > CLEAR * (one.deviation**2 + other.deviation**2) ** 0.5


# Figures and the table


class Cell(NamedTuple):
    """Accuracy, and how many points it lies below the plain point's: as words, and from 0 to 1 as heat."""

    accuracy: str
    lost: str
    heat: float


def heat_maps(reached: Sequence[Reached]) -> dict[str, dict[str, list[Cell | None]]]:
    """Return, by source and row, a cell per column, None where nothing was distorted so; empty without cells."""
    maps: dict[str, dict[str, list[Cell | None]]] = {}
    across = columns(reached)
    for source in sources(reached):
        own = {one.plan.cell: one for one in reached if one.source == source}
        if None not in own or len(own) == 1:
            continue
        plain = own[None].mean
        maps[source] = {
            row: [_cell(own.get((row, column)), plain) for column in across]
            for row in dict.fromkeys(cell[0] for cell in own if cell)
        }
    return maps


def columns(reached: Sequence[Reached]) -> list[str]:
    return list(dict.fromkeys(one.plan.cell[1] for one in reached if one.plan.cell))


def _cell(one: Reached | None, plain: float) -> Cell | None:
    if one is None:
        return None
    lost = plain - one.mean
    return Cell(f"{one.mean:.1f}", f"{-lost:+.1f}", min(max(lost / plain, 0.0), 1.0))


def draw(reached: Sequence[Reached], axis: str) -> list[Markup]:
    """Draw a panel per curve, or one of dots where points have no order; what no change touches is a line across."""
    drawn: list[Markup] = []
    if not reached or any(one.plan.cell for one in reached):
        return drawn
    low, high = min(one.mean - one.deviation for one in reached), max(one.mean + one.deviation for one in reached)
    margin = MARGIN * (high - low or 1.0)
    limits = low - margin, high + margin  # the same for every panel
    level, points = untouched(reached), changed(reached)
    levels = {one.source: (one.mean, one.deviation) for one in level}
    across = [f"{one.source}: {one}" for one in level]
    for curve in dict.fromkeys(one.plan.curve for one in points):
        own = [one for one in points if one.plan.curve == curve]
        series = {
            source: [(one.plan.at, one.plan.name, one.mean, one.deviation) for one in own if one.source == source]
            for source in sources(points)
        }
        alt = "; ".join([*across, *(f"{one.source}, {one.plan.name}: {one}" for one in own)])
        if curve:
            lines = {s: [(at, mean, away) for at, _, mean, away in v] for s, v in series.items()}
            drawn.append(figures.bands(f"curve-{len(drawn)}", alt, curve, axis, lines, limits, levels))
        else:
            names = list(dict.fromkeys(one.plan.name for one in own))
            dots = {s: [(float(names.index(name)), mean, away) for _, name, mean, away in v] for s, v in series.items()}
            drawn.append(figures.dots(f"dots-{len(drawn)}", alt, names, dots, levels))
    return drawn


def rows(record: StudyRecord) -> list[list[str]]:
    """Return the table: point, source, parameters, accuracy, L1 over the label mean's by mechanism, Frechet distance.

    Where students were timed, a last cell says how many times as fast as the eager teacher one draws, eager and by ONNX
    Runtime.
    """
    table, rates = [], record.counterfactuals_per_second
    for row in record.summary:
        shares = " / ".join(f"{l1.student.mean / l1.label_mean.mean:.2f}" for l1 in row.pixel_l1.values())
        size = count(row.parameters) if row.parameters else NOTHING
        accuracy = with_deviation(row.ood_accuracy.mean, row.ood_accuracy.deviation)
        apart = row.frechet_distance
        distance = with_deviation(apart.mean, apart.deviation, ".3f") if apart else NOTHING
        cells = [row.point, row.source, size, accuracy, shares or NOTHING, distance]
        table.append([*cells, speed_ratios(row, rates)] if rates else cells)
    return table


def speed_ratios(row: PointSummary, rates: dict[str, dict[str, float]]) -> str:
    """Say how many times the eager teacher's counterfactuals per second a student draws, eager and by ONNX Runtime."""
    if row.source != "student":
        return NOTHING
    drawn, slow = rates[row.point], rates["teacher"]["eager"]
    return " / ".join(f"{drawn[form] / slow:.1f}" for form in ("eager", "onnx-fp32") if form in drawn)
