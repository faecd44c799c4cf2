"""The exception for mistakes that a user can correct, and the check of names that raises it."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake that a user can correct: one line with its cause and its correction.

    The command line prints the line and exits with status 2.
    """


class TrainingStoppedError(UserError):
    """A training diverged or collapsed; its last good checkpoint is kept."""


RENAMED = {"natural-smoke": "imagenet-smoke"}  # names of earlier versions


def current_name(name: str) -> str:
    """Return the present name of a preset or teacher that was renamed, and any other name as it is."""
    return RENAMED.get(name, name)


def find(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """Return ``choices[name]``; raise UserError with the nearest name, or with all names, if there is none."""
    name = current_name(name)
    if name not in choices:
        close = difflib.get_close_matches(name, choices, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(choices)}"
        raise UserError(f"unknown {kind} {name!r}: {hint}")
    return choices[name]
