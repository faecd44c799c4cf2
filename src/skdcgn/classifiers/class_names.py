"""The names of a classifier's classes: from a file, and several outputs under one name."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_CLASSES
from skdcgn.base.door import MOST_JSON, parse_json, read_text
from skdcgn.base.errors import UserError, shown
from skdcgn.base.records import from_dict

FORMS = 'write a name per line, a JSON list of names, or a JSON object as {"0": "tench"}'


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names in a file: one per line, a JSON list, or a JSON object {number: name}.

    Raises:
        UserError: another form, a number that is missing, or a name that is empty or cannot be printed.
    """
    text = read_text(path, MOST_JSON)
    if text.lstrip()[:1] in ("[", "{"):
        return checked_names(_from_json(parse_json(text, path, FORMS), path), path)
    return checked_names([line.strip() for line in text.strip().splitlines()], path)


def _from_json(values: object, path: Path) -> list[str]:
    if isinstance(values, dict):
        return numbered_names(from_dict(dict[str, str], values, str(path), FORMS), path)
    return from_dict(list[str], values, str(path), FORMS)


def numbered_names(values: dict[str, str], origin: object) -> list[str]:
    """Return the names of an object {number: name} in order; raise UserError unless the numbers are 0, 1, ..."""
    numbers = [str(number) for number in range(len(values))]
    missing = next((number for number in numbers if number not in values), None)
    if missing is not None:
        raise UserError(f"{origin} names {len(values)} classes, and none is {missing}: number them 0, 1, ...")
    return [values[number] for number in numbers]


def checked_names(names: Sequence[str], origin: object) -> tuple[str, ...]:
    """Return names; raise UserError for fewer than two, too many, or one that is empty or has control characters."""
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UserError(f"{origin} names {len(names)} classes, it must be 2 to {MOST_CLASSES:,}: {FORMS}")
    for number, name in enumerate(names):
        if not name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UserError(f"{origin}: the name of class {number} is {shown(name)}: {FORMS}")
    return tuple(names)


def grouping(names: Sequence[str]) -> tuple[tuple[str, ...], Tensor | None]:
    """Return the different names, in the order of their first output, and the matrix (classes, outputs) of their sums.

    None in its place where every name occurs once.
    """
    distinct = tuple(dict.fromkeys(names))
    if len(distinct) == len(names):
        return distinct, None
    rows = {name: row for row, name in enumerate(distinct)}
    matrix = torch.zeros(len(distinct), len(names), dtype=torch.float64)
    matrix[[rows[name] for name in names], list(range(len(names)))] = 1
    return distinct, matrix
