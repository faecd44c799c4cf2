"""Some of a teacher's classes, numbered anew: a student of a hundred of ImageNet's thousand learns from these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os.path import isfile  # False, not an error, for words that are too long for the name of a file
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_CLASSES
from skdcgn.base.door import read_text
from skdcgn.base.errors import UserError, shown
from skdcgn.cgn.mechanism import Spec, Teacher, check_query

ALL = "all"
MOST_WORDS = 2**20  # bytes of a file of classes
MOST_DIGITS = 18  # of a number
NAMED = {"animals": range(398)}  # of ImageNet's 1,000: TinyGAN's subset


@dataclass(frozen=True)
class ClassSubset:
    """A teacher that answers for ``classes`` of another alone; label k stands for ``classes[k]``.

    Raises:
        UserError: no class, or one that the teacher does not have.
    """

    teacher: Teacher
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        count = self.teacher.spec.classes
        if not self.classes or not 0 <= min(self.classes) <= max(self.classes) < count:
            raise UserError(
                f"classes {shown(self.classes)}: the teacher has classes 0 to {count - 1}: choose some of them"
            )

    @cached_property
    def spec(self) -> Spec:
        whole = self.teacher.spec
        names = tuple(whole.names[k] for k in self.classes) if whole.names else ()
        return replace(whole, classes=len(self.classes), names=names)

    @property
    def digest(self) -> str:
        """The teacher's digest and the classes."""
        return f"{self.teacher.digest}[{as_ranges(self.classes)}]"

    @property
    def size(self) -> int | None:
        return self.teacher.size

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) for noise (B, Z) and labels (B,) int64 below ``len(classes)``."""
        check_query(self.spec, noise, labels)
        return self.teacher.query(mechanism, noise, torch.tensor(self.classes)[labels])


def of_classes(teacher: Teacher, classes: Sequence[int] | None) -> Teacher:
    """Return the teacher for ``classes`` alone; itself for None."""
    return teacher if classes is None else ClassSubset(teacher, tuple(classes))


def classes_of(teacher: Teacher) -> tuple[int, ...] | None:
    """Return the classes of a :class:`ClassSubset`; None for a whole teacher."""
    return teacher.classes if isinstance(teacher, ClassSubset) else None


def with_digest(teacher: Teacher, digest: str, classes: Sequence[int] | None) -> Teacher | None:
    """Return the one of ``teacher`` and its subset of ``classes`` whose digest is ``digest``; None if neither is."""
    if teacher.digest == digest:
        return teacher
    if not classes or max(classes) >= teacher.spec.classes:
        return None
    some = ClassSubset(teacher, tuple(classes))
    return some if some.digest == digest else None


def parse_classes(words: str, count: int) -> tuple[int, ...] | None:
    """Return the classes that ``words`` name, in order; None for ``all``.

    Args:
        words: ``all``, ``animals``, numbers and ranges as ``0-99,105``, or a UTF-8 file of such words, separated by
            commas, spaces or lines.
        count: how many classes there are.

    Raises:
        UserError: a word is no number or range, a range runs backwards, or a class is not below ``count``.
    """
    if words == ALL:
        return None
    if words in NAMED:
        ranges = [NAMED[words]]
    else:
        text = read_text(Path(words), MOST_WORDS) if isfile(words) else words
        ranges = [_range(word) for word in text.replace(",", " ").split()]
    if not ranges or max(one.stop for one in ranges) > count:
        raise UserError(f"--classes {shown(words)}: the teacher has classes 0 to {count - 1}: name some of them")
    return _members(ranges)


def _range(word: str) -> range:
    first, dash, last = word.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UserError(
            f"--classes: {shown(word)} is no class: use animals, numbers and ranges as 0-99,105, or a file of them"
        )
    start, end = _class(first), _class(last or first)
    if end < start:
        raise UserError(f"--classes: {shown(word)} runs backwards: write {end}-{start}")
    return range(start, end + 1)


def _class(digits: str) -> int:
    """Return the class that digits write; ``MOST_CLASSES``, which no teacher has, for a number of too many digits."""
    return int(digits) if len(digits) <= MOST_DIGITS else MOST_CLASSES


def _members(ranges: Iterable[range]) -> tuple[int, ...]:
    """Return the members of the ranges, each once, in order."""
    members: list[int] = []
    for one in sorted(ranges, key=lambda one: one.start):
        members.extend(range(max(one.start, members[-1] + 1 if members else 0), one.stop))
    return tuple(members)


def as_ranges(classes: tuple[int, ...]) -> str:
    """Write classes, in their order, as ``0-99,105``."""
    ranges: list[tuple[int, int]] = []
    for k in classes:
        if ranges and k == ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], k
        else:
            ranges.append((k, k))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
