"""Points of a study with their accuracies, and how they relate to each other."""

from collections.abc import Sequence
from typing import NamedTuple

from skdcgn.report.words import NO_BREAK
from skdcgn.results.statistics import with_deviation
from skdcgn.results.study_record import StudyPoint, StudyRecord

CLEAR = 2.0  # standard deviations of a difference, beyond which it is more than seed noise


class PointAccuracy(NamedTuple):
    """Accuracy of one point and source in percent: mean and deviation over seeds."""

    point: StudyPoint
    source: str
    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{with_deviation(self.mean, self.deviation)} %".replace(" ", NO_BREAK)


def point_accuracies(record: StudyRecord) -> list[PointAccuracy]:
    """Return the accuracy of each point and source, with the point itself."""
    points = {point.name: point for point in record.points}
    return [
        PointAccuracy(points[row.point], row.source, row.ood_accuracy.mean, row.ood_accuracy.deviation)
        for row in record.summary
    ]


def sources(accuracies: Sequence[PointAccuracy]) -> list[str]:
    return list(dict.fromkeys(one.source for one in accuracies))


def teacher_level(accuracies: Sequence[PointAccuracy]) -> list[PointAccuracy]:
    """Return the teacher's accuracy if the study changes students alone, so that one point of many has it; else []."""
    teachers, students = ([one for one in accuracies if one.source == source] for source in ("teacher", "student"))
    return teachers if len(teachers) == 1 < len(students) else []


def without_level(accuracies: Sequence[PointAccuracy]) -> list[PointAccuracy]:
    """Return what is drawn point by point: all but :func:`teacher_level`."""
    level = teacher_level(accuracies)
    return [one for one in accuracies if one not in level]


def columns(accuracies: Sequence[PointAccuracy]) -> list[str]:
    """Return the columns of the study's heat map; none if it has no heat map."""
    return list(dict.fromkeys(one.point.cell[1] for one in accuracies if one.point.cell))


def differ(one: PointAccuracy, other: PointAccuracy) -> bool:
    """Whether two means differ by more than seed noise."""
    return abs(one.mean - other.mean) > CLEAR * (one.deviation**2 + other.deviation**2) ** 0.5
