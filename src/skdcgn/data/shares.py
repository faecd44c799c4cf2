"""Which images of a sequence a process and a worker of its DataLoader take, by arithmetic alone.

A sequence is cut into blocks of ``BLOCK`` images. Of R ranks, rank r takes blocks r, r + R, ...; what is left after the
last R whole blocks is cut into R equal runs of images, and the remainder is dropped. So ranks get equally many images,
and together they take the images of the sequence, each once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch.utils.data import get_worker_info

from skdcgn.base.rank import Rank
from skdcgn.base.seeds import generator

BLOCK = 64  # images that are composed at once


@dataclass(frozen=True)
class RankShare:
    """A rank's images of a sequence of ``length`` images; None: of an endless one."""

    rank: Rank
    length: int | None

    @property
    def images(self) -> int | None:
        """How many images each rank takes; None: they do not end."""
        return None if self.length is None else self.length // self.rank.ranks

    def place(self, position: int) -> int:
        """Return the number in the sequence of the image at ``position`` of this rank."""
        group, row = divmod(position, BLOCK)
        first = group * self.rank.ranks * BLOCK
        size = BLOCK if self.images is None else min(BLOCK, self.images - group * BLOCK)
        return first + self.rank.own * size + row

    def real_draw(self, position: int) -> int:
        """Return the number, among the real images of all ranks, of the one at ``position`` of this rank's."""
        return self.rank.own + self.rank.ranks * position


def worker_positions(start: int, stop: int | None, batch_size: int | None) -> Iterator[int]:
    """Yield the positions from ``start`` to ``stop`` (None: without end) that this worker of a DataLoader takes.

    A DataLoader takes batches from its W workers in turns. Of batches of ``batch_size`` worker w takes numbers w,
    w + W, ...; for None the first worker takes all. Outside a worker, all.
    """
    worker = get_worker_info()
    if worker is None or (batch_size is None and worker.id == 0):
        yield from count(start) if stop is None else range(start, stop)
        return
    if batch_size is None:
        return
    for first in count(start + worker.id * batch_size, worker.num_workers * batch_size):
        if stop is not None and first >= stop:
            return
        yield from range(first, first + batch_size if stop is None else min(first + batch_size, stop))


class Shuffle:
    """Rows of a data set of ``size`` rows, shuffled anew for each pass; draw d is a function of the seed and d."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._pass, self._order = -1, torch.empty(0)

    def row(self, draw: int) -> int:
        """Return the row of draw number ``draw``, from 0."""
        number, place = divmod(draw, self.size)
        if number != self._pass:
            self._pass = number
            self._order = torch.randperm(self.size, generator=generator(self.seed, "real", number))
        return int(self._order[place])
