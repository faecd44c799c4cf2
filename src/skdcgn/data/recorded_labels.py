"""Tables of labels, ``file,label[,mechanism]``: which picture shows which class of which mechanism.

The first line is a header if one of its cells is ``label``; its cells then name the columns, in any order, and further
columns are ignored. Without a header the columns are file, label and mechanism, in this order; a table of one column
holds labels alone, for pictures that lie in one file.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_CLASSES
from skdcgn.base.door import read_text
from skdcgn.base.errors import UserError, naming, shown
from skdcgn.cgn.mechanism import Mechanism, as_mechanism

FILE, LABEL, MECHANISM = "file", "label", "mechanism"
COLUMNS = (FILE, LABEL, MECHANISM)  # of a table without a header
ALIASES = {"file_name": FILE, "filename": FILE, "path": FILE}
MOST_DIGITS = 6  # of a number that is a class


@dataclass(frozen=True)
class LabelRow:
    """A row of a table: the label as a word, the file and the mechanism where the table names them."""

    label: str
    file: str | None = None
    mechanism: Mechanism | None = None


def read_label_table(path: Path) -> list[LabelRow]:
    """Return the rows of a table of labels in their order.

    Raises:
        UserError: it is no UTF-8 text or has no rows, a row has too few cells, no label, or an unknown mechanism.
    """
    lines = [(number, cells) for number, cells in enumerate(_cells(path), 1) if any(cells)]
    if lines and LABEL in map(str.lower, lines[0][1]):
        lower = [cell.lower() for cell in lines[0][1]]
        columns, lines = [ALIASES.get(name, name) for name in lower], lines[1:]
    elif lines:
        count = len(lines[0][1])
        columns = list(COLUMNS[:count]) if count > 1 else [LABEL]
    if not lines:
        raise UserError(f"{path} holds no labels: write a line file,label for each picture")
    return [_row(cells, columns, f"{path}, line {number}") for number, cells in lines]


def _cells(path: Path) -> list[list[str]]:
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(read_text(path).splitlines(), strict=True)]
    except csv.Error as error:
        raise UserError(f"{path} is no table of commas ({error}): write a line file,label for each picture") from None


def _row(cells: list[str], columns: list[str], origin: str) -> LabelRow:
    row = dict(zip(columns, cells, strict=False))
    if len(cells) < len(columns) or not row[LABEL] or row.get(FILE) == "":
        raise UserError(f"{origin} has no {', no '.join(columns[len(cells) :]) or 'label'}: fill it in")
    with naming(origin):
        return LabelRow(row[LABEL], row.get(FILE), as_mechanism(row[MECHANISM]) if MECHANISM in row else None)


@dataclass(frozen=True)
class LabelledClasses:
    """Labels (N,) int64 of each mechanism, the number of classes, and their names if labels are words."""

    labels: dict[Mechanism, Tensor]
    count: int
    names: tuple[str, ...] = ()


def as_classes(words: dict[Mechanism, Sequence[str]], names: tuple[str, ...] = ()) -> LabelledClasses:
    """Return labels as numbers.

    Args:
        words: a label for each picture of each mechanism. If all are whole numbers, these number the classes, which
            then have no names; otherwise they are the names of the classes, sorted.
        names: of the classes that numbers stand for, in order, where the recording has them.

    Raises:
        UserError: a mechanism has no picture of a class, or a number has no name.
    """
    distinct = {word for own in words.values() for word in own}
    if all(word.isdecimal() and word.isascii() and len(word) <= MOST_DIGITS for word in distinct):
        numbers = {word: int(word) for word in distinct}
        count = len(names) or max(numbers.values()) + 1
    else:
        names = names or tuple(sorted(distinct))
        numbers = {name: number for number, name in enumerate(names)}
        count = len(names)
    strange = sorted(word for word in distinct if not 0 <= numbers.get(word, -1) < count)
    if strange or count > MOST_CLASSES:
        raise UserError(f"label {shown(strange[0] if strange else count)}: the recording has {count} classes: mend it")
    labels = {m: torch.tensor([numbers[word] for word in own], dtype=torch.int64) for m, own in words.items()}
    for mechanism, own in labels.items():
        missing = own.bincount(minlength=count).eq(0).nonzero()
        if len(missing):
            label = int(missing[0])
            name = f" ({names[label]})" if names else ""
            raise UserError(
                f"class {label}{name} has no {mechanism}: record some, or number the classes from 0 without a gap"
            )
    return LabelledClasses(labels, count, names)
