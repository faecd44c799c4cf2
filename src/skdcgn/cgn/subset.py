"""Some of a teacher's classes, numbered anew: what a student of a hundred of ImageNet's thousand learns from."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Spec, Teacher, check_query

ALL = "all"
NAMED = {"animals": range(398)}  # of ImageNet's 1,000: TinyGAN's subset


@dataclass(frozen=True)
class ClassSubset:
    """A teacher that answers for ``classes`` of another alone; label k asks for ``classes[k]``."""

    teacher: Teacher
    classes: tuple[int, ...]

    @cached_property
    def spec(self) -> Spec:
        return replace(self.teacher.spec, classes=len(self.classes))

    @property
    def digest(self) -> str:
        """The other's, and which classes these are."""
        return f"{self.teacher.digest}[{as_ranges(self.classes)}]"

    @property
    def size(self) -> int | None:
        return self.teacher.size

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) for noise (B, Z) and labels (B,) int64 below the number of classes chosen."""
        check_query(self.spec, noise, labels)
        return self.teacher.query(mechanism, noise, torch.tensor(self.classes)[labels])


def of_classes(teacher: Teacher, words: str) -> Teacher:
    """Return the teacher for the classes that ``words`` name (:func:`parse_classes`); itself for ``all``."""
    return teacher if words == ALL else ClassSubset(teacher, parse_classes(words, teacher.spec.classes))


def as_asked(teacher: Teacher, digest: str) -> Teacher | None:
    """Return the teacher that answers under ``digest``: ``teacher``, or some of its classes; None if it is another."""
    if teacher.digest == digest:
        return teacher
    rest = digest.removeprefix(teacher.digest)
    return of_classes(teacher, rest[1:-1]) if rest != digest and rest.startswith("[") else None


def parse_classes(words: str, count: int) -> tuple[int, ...]:
    """Return the classes that ``words`` name, in order.

    Args:
        words: ``animals``, numbers and ranges as ``0-99,105``, or a file of such words, separated by commas or lines.
        count: how many classes there are.

    Raises:
        UserError: a word is no number or range, or a class is not below ``count``.
    """
    if words in NAMED:
        chosen = set(NAMED[words])
    else:
        text = Path(words).read_text(encoding="utf-8") if Path(words).is_file() else words
        chosen = {k for word in text.replace(",", " ").split() for k in _range(word)}
    if not chosen or max(chosen) >= count:
        raise UserError(f"--classes {words!r}: the teacher knows classes 0 to {count - 1}: name some of them")
    return tuple(sorted(chosen))


def _range(word: str) -> range:
    first, dash, last = word.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UserError(
            f"--classes: {word!r} is no class: use animals, numbers and ranges as 0-99,105, or a file of them"
        )
    return range(int(first), int(last or first) + 1)


def as_ranges(classes: tuple[int, ...]) -> str:
    """Write sorted classes as ``0-99,105``."""
    known = set(classes)
    starts, ends = ([k for k in classes if k + step not in known] for step in (-1, 1))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
