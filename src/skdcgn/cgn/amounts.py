"""Amounts of interventions: a number, a whole number, a class or a colour; each type reads and validates its own.

Words such as ``1.5`` or ``#80c0ff`` become typed values where they enter (:mod:`skdcgn.cgn.policy`).
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from skdcgn.base.bounds import MOST_CLASSES, MOST_WEIGHT
from skdcgn.base.errors import shown

MOST = 255  # of a channel of a colour


class Colour(NamedTuple):
    """Red, green and blue, each from 0 to 255; written ``#80c0ff``."""

    red: int
    green: int
    blue: int

    def __str__(self) -> str:
        return "#" + "".join(f"{channel:02x}" for channel in self)


Amount = float | int | Colour


class AmountType(Protocol):
    """The values that an intervention takes, and one of them as an example."""

    @property
    def example(self) -> Amount: ...

    def read(self, text: str) -> Amount:
        """Return the value that ``text`` writes; raise ValueError that says why it writes none."""
        ...

    def validate(self, amount: Any, classes: int | None) -> Amount:
        """Return ``amount`` in this type; raise ValueError if the intervention does not take it."""
        ...


@dataclass(frozen=True)
class Number:
    """A real number from ``low`` to ``high``, by default the greatest that keeps every layer finite."""

    example: float
    low: float = 0.0
    high: float = MOST_WEIGHT

    def read(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"amount {shown(text)} is no number") from None

    def validate(self, amount: Any, classes: int | None) -> float:
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise ValueError(f"amount {shown(amount)} is no number")
        _check_range(amount, self.low, self.high)
        return float(amount)


@dataclass(frozen=True)
class WholeNumber:
    """A whole number from 0 to ``high``."""

    example: int
    high: int

    def read(self, text: str) -> int:
        return _whole(text)

    def validate(self, amount: Any, classes: int | None) -> int:
        return _whole_up_to(self.high, amount)


@dataclass(frozen=True)
class ClassLabel:
    """A class of the CGN: 0 to one less than their number."""

    example: int

    def read(self, text: str) -> int:
        return _whole(text)

    def validate(self, amount: Any, classes: int | None) -> int:
        return _whole_up_to((classes or MOST_CLASSES) - 1, amount)


@dataclass(frozen=True)
class AnyColour:
    """A :class:`Colour`."""

    example: Colour

    def read(self, text: str) -> Colour:
        if not re.fullmatch("#[0-9a-fA-F]{6}", text):
            raise ValueError(f"amount {shown(text)} is no colour")
        return Colour(*bytes.fromhex(text[1:]))

    def validate(self, amount: Any, classes: int | None) -> Colour:
        if not isinstance(amount, tuple) or len(amount) != 3 or not set(amount) <= set(range(MOST + 1)):
            raise ValueError(f"amount {shown(amount)} is no colour")
        return Colour(*amount)


def write(amount: Amount) -> str:
    """Return the shortest word from which the amount is read again."""
    if isinstance(amount, float):
        short = f"{amount:g}"
        return short if float(short) == amount or amount != amount else repr(amount)
    return shown(amount) if isinstance(amount, int) else str(amount)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"amount {shown(text)} is no whole number") from None


def _whole_up_to(high: float, amount: Any) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise ValueError(f"amount {shown(amount)} is no whole number")
    _check_range(amount, 0, high)
    return amount


def _check_range(amount: float, low: float, high: float) -> None:
    if not low <= amount <= high:
        raise ValueError(f"amount {write(amount)} is not from {low:g} to {high:g}")
