"""Questions for black boxes that are recordings: the noise and the labels that somebody recorded."""

import logging
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.black_box import BlackBox
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.subset import ClassSubset
from skdcgn.pairs.manifest import Plan, Purpose

logger = logging.getLogger(__name__)


@runtime_checkable
class Recorded(BlackBox, Protocol):
    """A black box that answers with recorded pairs."""

    def recorded(self, mechanism: Mechanism, purpose: Purpose) -> tuple[Tensor, Tensor]:
        """Return noise (N, Z) and labels (N,) of the recorded pairs."""
        ...


@dataclass(frozen=True)
class RecordedQuestions:
    """The questions of each shard: recorded noise and labels, of each class in turn.

    Args:
        teacher: whose pairs they are.
        classes: those of the teacher that are asked for, which are numbered anew; None: all.
    """

    teacher: Recorded
    classes: tuple[int, ...] | None = None
    _cache: dict[tuple[Mechanism, Purpose], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(self, size: int, index: int, plan: Plan) -> tuple[Tensor, Tensor]:
        """Return noise (size, Z) and labels (size,) of shard ``index``."""
        noise, labels = self._pairs(plan.mechanism, plan.purpose)
        rows = slice(start := plan.rows(index).start, start + size)
        return noise[rows], labels[rows]

    def affordable(self, mechanism: Mechanism, purpose: Purpose, count: int) -> int:
        """Return ``count``, or the number of recorded pairs if they are fewer, which one line says.

        Raises:
            UserError: none are recorded.
        """
        most = len(self._pairs(mechanism, purpose)[1])
        if not most:
            raise UserError(f"no {purpose} pairs of {mechanism} are recorded: record some, by skdcgn record --held-out")
        if most < count:
            logger.info(
                f"{mechanism} ({purpose}): {most:,} pairs are recorded, which are all taken instead of {count:,}"
            )
        return min(most, count)

    def _pairs(self, mechanism: Mechanism, purpose: Purpose) -> tuple[Tensor, Tensor]:
        key = mechanism, purpose
        if key not in self._cache:
            self._cache[key] = _in_turn(*self.teacher.recorded(mechanism, purpose), self.classes)
        return self._cache[key]


def recorded_questions(teacher: Teacher) -> RecordedQuestions | None:
    """Return the questions that a recording answers exactly; None for any other teacher."""
    if isinstance(teacher, ClassSubset) and isinstance(teacher.teacher, Recorded):
        return RecordedQuestions(teacher.teacher, teacher.classes)
    return RecordedQuestions(teacher) if isinstance(teacher, Recorded) else None


def _in_turn(noise: Tensor, labels: Tensor, classes: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    """Return the pairs of some classes with their new numbers, a pair of each class in turn."""
    if classes is not None:
        own = torch.isin(labels, torch.tensor(classes))
        noise, labels = noise[own], _renumbered(labels[own], classes)
    turns = torch.empty_like(labels)
    for label in labels.unique().tolist():
        own = labels == label
        turns[own] = torch.arange(int(own.sum()))
    order = turns.argsort(stable=True)
    return noise[order], labels[order]


def _renumbered(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Return the place of each label among ``classes``."""
    return (labels[:, None] == torch.tensor(classes)).long().argmax(1)
