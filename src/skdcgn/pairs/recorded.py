"""Black boxes that are recordings: they answer at their own noise and labels, and are asked there."""

import logging
from typing import Protocol, runtime_checkable

from torch import Tensor

from skdcgn.cgn.black_box import BlackBox
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.manifest import Plan, Purpose

logger = logging.getLogger(__name__)


@runtime_checkable
class Recorded(BlackBox, Protocol):
    """A teacher of recorded pairs, which knows the noise and the labels of these."""

    def count(self, mechanism: Mechanism, purpose: Purpose) -> int:
        """Return how many pairs are recorded."""
        ...

    def questions(self, size: int, index: int, plan: Plan) -> tuple[Tensor, Tensor]:
        """Return noise (size, Z) and labels (size,) of the recorded pairs of a shard."""
        ...


def recorded_count(teacher: Recorded, mechanism: Mechanism, purpose: Purpose, count: int) -> int:
    """Return ``count``, or the number of recorded pairs if they are fewer, which one line says."""
    most = teacher.count(mechanism, purpose)
    if most < count:
        logger.info(
            f"{mechanism} ({purpose}): {most:,} pairs are recorded, {count:,} were to be queried: takes {most:,}"
        )
    return min(most, count)
