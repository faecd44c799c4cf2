"""Findings of a study in sentences, made from its numbers."""

from collections.abc import Sequence

from skdcgn.report.study_points import PointAccuracy, differ, sources, teacher_level
from skdcgn.results.study_record import StudyRecord


def findings(accuracies: Sequence[PointAccuracy], axis: str) -> list[str]:
    """Return a sentence per source and curve; then one that compares the student with its teacher."""
    sentences = []
    for source in sources(accuracies):
        own = [one for one in accuracies if one.source == source]
        for curve in dict.fromkeys(one.point.curve for one in own):
            line = [one for one in own if one.point.curve == curve]
            if len(line) > 1:
                sentences.append(line_sentence(line, axis))
    level = teacher_level(accuracies)
    comparison = level_sentence(level[0], accuracies) if level else pairs_sentence(accuracies)
    return [*sentences, comparison] if comparison else sentences


def line_sentence(line: Sequence[PointAccuracy], axis: str) -> str:
    """Say what the points of one source show: along a curve, in a heat map, or without an order."""
    if line[0].point.curve:
        return curve_sentence(line, axis)
    return cost_sentence(line) if line[-1].point.cell else best_sentence(line)


def curve_sentence(line: Sequence[PointAccuracy], axis: str) -> str:
    """Compare the ends of a curve, and say from where on it is level."""
    first, last = line[0], line[-1]
    curve = f"{first.source.capitalize()}, {first.point.curve}"
    if not differ(first, last):
        far = max(line, key=lambda one: abs(one.mean - last.mean))
        between = f" In between, it is {far} at {far.point.at:,g}." if differ(far, last) else ""
        return (
            f"{curve}: accuracy is the same within seed noise, {first} at {first.point.at:,g} and {last} at "
            f"{last.point.at:,g} ({axis}).{between}"
        )
    sense = "rises" if last.mean > first.mean else "falls"
    sentence = (
        f"{curve}: accuracy {sense} by {abs(last.mean - first.mean):.1f} points from {first} at {first.point.at:,g} "
        f"to {last} at {last.point.at:,g} ({axis})."
    )
    level = line[max(place for place, one in enumerate(line) if differ(one, last)) + 1]
    if level is last:
        return sentence
    return f"{sentence} From {level.point.at:,g} on, it is level within seed noise."


def best_sentence(line: Sequence[PointAccuracy]) -> str:
    """Name the best point, and compare it with the first."""
    first, best = line[0], max(line, key=lambda one: one.mean)
    if best is first:
        return f"{best.source.capitalize()}: no other point exceeds {quoted(best)}, {best}."
    noise = "" if differ(first, best) else ", within seed noise"
    gain = f"{best.mean - first.mean:.1f} points above {quoted(first)}"
    return f"{best.source.capitalize()}: best is {quoted(best)} with {best}, {gain}{noise}."


def cost_sentence(line: Sequence[PointAccuracy]) -> str:
    """Name the cell of a heat map that costs most, and how many cost nothing, against the point without a cell."""
    plain, *others = line
    worst = min(others, key=lambda one: one.mean)
    source = plain.source.capitalize()
    if worst.mean >= plain.mean:
        return f"{source}: no change lowers accuracy below {plain} of {quoted(plain)}."
    level = [one for one in others if not differ(plain, one)]
    spared = f" {len(level)} of {len(others)} changes have no effect beyond seed noise." if level else ""
    return f"{source}: {quoted(worst)} costs most, from {plain} to {worst}.{spared}"


def level_sentence(teacher: PointAccuracy, accuracies: Sequence[PointAccuracy]) -> str:
    """Say which students equal their teacher."""
    alike = [quoted(one) for one in accuracies if one.source == "student" and not differ(one, teacher)]
    if not alike:
        return f"The teacher reaches {teacher}; no student is within seed noise of it."
    return f"The teacher reaches {teacher}; students within seed noise of it: {', '.join(alike)}."


def pairs_sentence(accuracies: Sequence[PointAccuracy]) -> str:
    """Compare the student with its teacher over the points that have both; "" if none has."""
    pairs = [
        (teacher, student)
        for teacher in accuracies
        for student in accuracies
        if (teacher.source, student.source) == ("teacher", "student") and teacher.point.name == student.point.name
    ]
    if not pairs:
        return ""
    differences = [student.mean - teacher.mean for teacher, student in pairs]
    mean = sum(differences) / len(differences)
    amount = f"{abs(mean):.1f} points {'more' if mean >= 0 else 'less'} than" if abs(mean) >= 0.05 else "as much as"
    if len(pairs) == 1:
        return f"At {quoted(pairs[0][0])}, the student reaches {amount} its teacher."
    spread = f"from {min(differences):+.1f} to {max(differences):+.1f}"
    return f"On average over {len(pairs)} settings, the student reaches {amount} its teacher ({spread})."


def quoted(one: PointAccuracy) -> str:
    """Return the name of a point in quotation marks, for it may hold commas."""
    return f"“{one.point.name}”"


def stopped_trainings(record: StudyRecord) -> list[str]:
    """Say which trainings were stopped, and why."""
    return [
        f"{score.source.capitalize()}, {score.point}: the training with seed {score.seed} was stopped: {score.stopped}."
        for score in record.scores
        if score.stopped
    ]
