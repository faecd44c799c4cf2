"""The place of a process among those that share one piece of work."""

import os
from typing import NamedTuple

from skdcgn.base.errors import UserError

MEETING = ("MASTER_ADDR", "MASTER_PORT")  # where the processes of a launcher meet


def launched() -> bool:
    """Tell whether a launcher of several processes, as torchrun, has started this one."""
    return all(name in os.environ for name in MEETING)


class Rank(NamedTuple):
    """Which of how many processes this is, from 0."""

    own: int = 0
    ranks: int = 1

    def check(self) -> None:
        """Raise UserError unless the number is one of 0 to ``ranks`` - 1."""
        if not 0 <= self.own < self.ranks:
            raise UserError(f"rank {self.own} of {self.ranks}: ranks run from 0 to one less than their number")
