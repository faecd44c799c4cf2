"""The record of an audit, ``audit.json``: percentages with 95 % intervals. No torch here.

:mod:`skdcgn.evaluation.audit` defines each number.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Percent, Seed, Whole
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.records import to_dict

FILE = "audit.json"
MECHANISMS = ("shape", "texture", "background")
PICTURES = ("texture", "background")  # the mechanisms that draw pictures, not masks
BOTH = "texture+background"
SUBSETS = ("shape+texture", "shape+background", BOTH, "shape+texture+background")
Points = Annotated[float, Field(ge=-100, le=100)]  # a difference of two percentages


@dataclass(frozen=True)
class Interval:
    """A percentage, or a difference of two in points, and its 95 % interval."""

    value: Points
    low: Points
    high: Points

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise UserError(f"{self.value} is not between its ends, {self.low} and {self.high}")

    def __str__(self) -> str:
        """Return ``34 % [31, 37]``; one digit after the point where the value is below 10."""
        return self.text(" %")

    def text(self, unit: str = "") -> str:
        """Return ``34 [31, 37]``, or with a unit after the value."""
        digits = 0 if abs(self.value) >= 9.95 else 1
        value, low, high = (f"{number:z.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value}{unit} [{low}, {high}]"


@dataclass(frozen=True)
class Reaction:
    """What a classifier does when the labels of one mechanism, or of a subset, become another class.

    Args:
        flip: the decision changes.
        follow: the decision changes, and becomes the new class.
        accuracy: the decision is the label of the shape, which the others contradict.
        agree: the same where they agree with it.
        excess: what following alone explains of ``follow``, in points.
    """

    flip: Interval
    follow: Interval
    accuracy: Interval
    agree: Interval
    excess: Interval


@dataclass(frozen=True)
class Floor:
    """The same where noise alone is new: the decision changes, and becomes the class that ``follow`` counts."""

    flip: Interval
    follow: Interval


@dataclass(frozen=True)
class Carried:
    """Held-out accuracy of a probe that reads one mechanism's layer, its 95 % interval, and what guessing reaches."""

    value: Percent
    low: Percent
    high: Percent
    chance: Percent

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise UserError(f"{self.value} is not between its ends, {self.low} and {self.high}")


@dataclass(frozen=True)
class CurvePoint:
    """Flip and follow where a layer becomes the mixture (1 - amount) * old + amount * new."""

    amount: Annotated[float, Field(ge=0, le=1)]
    flip: Interval
    follow: Interval


@dataclass(frozen=True)
class Pair:
    """One picture before and after a new texture or background, to whose class the decision changes.

    Args:
        mechanism: whose label is new.
        labels: of shape, texture and background before.
        new_label: of the mechanism after, which is ``decision_after``.
        confidence_before: probability of the decision, in percent.
        row: number of the base picture.
    """

    mechanism: str
    labels: tuple[Whole, Whole, Whole]
    new_label: Whole
    decision_before: Whole
    decision_after: Whole
    confidence_before: Percent
    confidence_after: Percent
    row: Whole


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """What an audit measured: percentages by mechanism (``shape``, ...) or subset (``texture+background``, ...).

    Args:
        classifier, cgn: their names.
        classes: names, or numbers as words, in the CGN's order, which all class numbers here follow.
        images: number of base pictures.
        whole: they show whole objects, shape and texture of one photograph; else all three labels are independent.
        mechanisms, subsets: reactions to new labels.
        noise_floor: by mechanism and by subset.
        carried: how well each mechanism's layers carry their class; empty if not measured.
        curves: by mechanism.
        confusion: by mechanism, counts of base pictures: its label (rows), the decision (columns); empty if there are
            too many classes.
        pairs: the most telling pictures; see :func:`pair_files`.
        follows: ``texture``, ``background``, ``texture+background``: those whose class the decision follows.
        warnings: one line each.
        verdict: one sentence.
        description: the line that says what was understood of the classifier; empty if there is none.
        command: repeats the audit; empty if a callable was audited, or a CGN that no name stands for.
    """

    classifier: str
    cgn: str
    classes: tuple[str, ...]
    images: Count
    seed: Seed
    whole: bool = False
    mechanisms: dict[str, Reaction]
    noise_floor: dict[str, Floor]
    subsets: dict[str, Reaction]
    carried: dict[str, Carried]
    curves: dict[str, tuple[CurvePoint, ...]]
    confusion: dict[str, tuple[tuple[Whole, ...], ...]]
    pairs: tuple[Pair, ...]
    follows: tuple[str, ...]
    warnings: tuple[str, ...]
    verdict: str
    description: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        _check_keys("mechanisms", self.mechanisms, MECHANISMS)
        _check_keys("subsets", self.subsets, SUBSETS)
        _check_keys("noise_floor", self.noise_floor, (*MECHANISMS, *SUBSETS))
        for name, part in (("carried", self.carried), ("curves", self.curves), ("confusion", self.confusion)):
            _check_keys(name, part, MECHANISMS if part else ())
        count = len(self.classes)
        if any(len(rows) != count or any(len(row) != count for row in rows) for rows in self.confusion.values()):
            raise UserError(f"its confusion is not of {count} classes")
        for pair in self.pairs:
            numbers = (*pair.labels, pair.new_label, pair.decision_before, pair.decision_after)
            if pair.mechanism not in MECHANISMS or max(numbers) >= count:
                raise UserError(f"a pair is not of {count} classes and three mechanisms")

    def followed_above(self, percent: float) -> tuple[str, ...]:
        """Return texture, background and the two together, as far as ``follow`` is above a percentage."""
        reactions = {"texture": self.mechanisms["texture"], "background": self.mechanisms["background"]}
        return tuple(
            name for name, one in (reactions | {BOTH: self.subsets[BOTH]}).items() if one.follow.value > percent
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return to_dict(self)


def _check_keys(name: str, part: dict[str, Any], keys: tuple[str, ...]) -> None:
    if set(part) != set(keys):
        raise UserError(f"{name} should have the keys {', '.join(keys)}")


def read_audit(folder: Path) -> AuditRecord:
    """Return the record in a folder that ``audit`` wrote; raise UserError if there is none."""
    return read_record(folder / FILE, AuditRecord)


def pair_files(index: int) -> tuple[str, str]:
    """Return where the folder of an audit keeps the pictures of ``pairs[index]``: before and after, (H, W) PNGs."""
    return f"pairs/{index:02}-before.png", f"pairs/{index:02}-after.png"
