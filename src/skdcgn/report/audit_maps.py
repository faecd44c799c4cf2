"""Confusion of an audit: how often a classifier decides for each class, by the class of one mechanism."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from skdcgn.evaluation.audit_record import MECHANISMS

Matrix = Sequence[Sequence[int]]  # pictures by the class of a mechanism (rows) and the decision (columns)
MOST_CLASSES = 20  # that a map shows
MOST_CONFUSED = 10  # classes of the map where there are more
MOST_NUMBERS = 10  # classes whose cells have room for a number


class Cell(NamedTuple):
    """The share of a row in percent as text, and from 0 to 1 as the strength of the colour."""

    text: str
    heat: float
    diagonal: bool


class ConfusionMap(NamedTuple):
    """A map: its mechanism, columns, rows of (class, cells), and the share on the diagonal of all classes."""

    mechanism: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    diagonal: str


class ConfusionMaps(NamedTuple):
    """The maps of all mechanisms, of the same classes; what they leave out; whether cells have room for numbers."""

    maps: list[ConfusionMap]
    left_out: str
    numbers: bool


def confusion_maps(classes: Sequence[str], confusion: Mapping[str, Matrix]) -> ConfusionMaps:
    """Return a map per mechanism; of more than twenty classes, the ten that are most often decided otherwise."""
    selected = most_confused(len(classes), confusion)
    scope = ""
    if len(selected) < len(classes):
        scope = f"The {len(selected)} most confused of {len(classes):,} classes; “others” are decisions for the rest."
    maps = [_map(name, classes, confusion[name], selected) for name in MECHANISMS if name in confusion]
    return ConfusionMaps(maps, scope, len(selected) <= MOST_NUMBERS)


def most_confused(classes: int, confusion: Mapping[str, Matrix]) -> list[int]:
    """Return the classes to show, in order: all, or the ten whose shapes are most often taken for another class."""
    if classes <= MOST_CLASSES or not confusion:
        return list(range(classes))
    wrong = [sum(row) - row[place] for place, row in enumerate(confusion["shape"])]
    return sorted(sorted(range(classes), key=lambda place: -wrong[place])[:MOST_CONFUSED])


def _map(name: str, classes: Sequence[str], matrix: Matrix, selected: Sequence[int]) -> ConfusionMap:
    columns = [classes[place] for place in selected]
    others = len(selected) < len(classes)
    right, total = sum(row[place] for place, row in enumerate(matrix)), sum(map(sum, matrix))
    return ConfusionMap(
        name,
        [*columns, "others"] if others else columns,
        [(classes[place], _cells(matrix[place], place, selected, others=others)) for place in selected],
        f"{_share(right, total):.0f}",
    )


def _cells(row: Sequence[int], place: int, selected: Sequence[int], *, others: bool) -> list[Cell]:
    counts = [row[column] for column in selected]
    shares = [_share(one, sum(row)) for one in ([*counts, sum(row) - sum(counts)] if others else counts)]
    diagonals = [column == place for column in selected] + [False]
    return [Cell(f"{share:.0f}", share / 100, here) for share, here in zip(shares, diagonals, strict=False)]


def _share(part: int, total: int) -> float:
    return 100 * part / total if total else 0.0
