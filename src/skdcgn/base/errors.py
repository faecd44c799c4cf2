"""The exception for mistakes that a user can correct, and the check of names that raises it."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
MOST_SHOWN = 80  # characters of a value that an error shows


class UserError(Exception):
    """A mistake that a user can correct: one line with its cause and its correction.

    The command line prints the line and exits with status 2.
    """


@contextmanager
def naming(origin: object) -> Iterator[None]:
    """Put ``origin`` before the line of a UserError of the block, unless it begins so."""
    try:
        yield
    except UserError as error:
        line = str(error)
        raise UserError(line if line.startswith(str(origin)) else f"{origin}: {line}") from None


class TrainingStoppedError(UserError):
    """A training diverged or collapsed; its last good checkpoint is kept."""


class LostAnswerError(UserError):
    """Nobody knows whether a request was answered, and it may have been paid: the connection broke, or its answer did.

    A service that knows idempotency keys is asked again before, with the same key.
    """


class RefusedError(UserError):
    """A request that was surely neither answered nor paid, after all attempts: refused, or never sent."""


def as_line(text: str) -> str:
    """Return a text as one line that can be printed."""
    return escaped(" ".join(text.split()))


def escaped(text: str) -> str:
    """Return a text with escapes for what cannot be printed, as the names of files may hold.

    A terminal acts on control characters; lone surrogates cannot be written at all.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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


def shown(value: Any) -> str:
    """Return a value from outside as a piece of one line: printable, and short."""
    if isinstance(value, int) and value.bit_length() > MOST_SHOWN:
        return f"a number of {value.bit_length()} bits"
    try:
        return shortened(repr(value))
    except ValueError:  # a number of too many digits inside
        return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """Return text from outside as a piece of one line: what can be printed of its first 80 characters."""
    return escaped(text[:MOST_SHOWN]) + ("..." if len(text) > MOST_SHOWN else "")
