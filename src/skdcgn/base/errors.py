"""The one exception for mistakes that a user can mend, and the most usual of them: a name that does not exist."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """One line that names the thing and the mend; the command line prints it and exits with status 2."""


class TrainingStoppedError(UserError):
    """A run went wrong (NaN, collapse); its last good checkpoint is kept."""


RENAMED = {"natural-smoke": "imagenet-smoke"}  # names of earlier versions


def current_name(name: str) -> str:
    """Return the present name of a preset or teacher that was renamed, and any other name as it is."""
    return RENAMED.get(name, name)


def find(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return ``known[name]``; raise UserError with the nearest name, or all of them."""
    name = current_name(name)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
        raise UserError(f"unknown {kind} {name!r}: {hint}")
    return known[name]
