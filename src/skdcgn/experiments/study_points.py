"""Names that all studies share."""

from skdcgn.results.study_record import Changes, StudyPoint

MECHANISMS = ("shape", "texture", "background")
ALL = ("biased", "teacher", "student", "oracle")
BOTH = ("teacher", "student")
PRESET = "preset"  # the point that changes nothing


def named(points: dict[str, Changes], sources: tuple[str, ...] = ("student",)) -> list[StudyPoint]:
    """Return a point per name."""
    return [StudyPoint(name, changes, sources) for name, changes in points.items()]
