"""Epochs and learning rates of classifiers: which rows a step takes, and by which factor the rate falls."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.training.loop import Schedule
from skdcgn.training.processes import own_share


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order (count,) in which an epoch visits the rows."""
    return torch.randperm(count, generator=generator(seed, "epoch", epoch))


@dataclass(frozen=True)
class Epochs:
    """Batches of ``epochs`` passes over ``count`` rows; the last batch of a pass may be smaller."""

    count: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Return the pass that ``step`` belongs to, from 0."""
        return step // self.steps_per_epoch

    def rows(self, step: int) -> Tensor:
        """Return this process's share (B,) of the rows of ``step``."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return own_share(epoch_order(self.count, self.seed, epoch)[index * self.batch_size :][: self.batch_size])


def step_decay(factor: float, epochs: int, *, every: int = 1, warmup: float = 0.0, cooldown: float = 0.0) -> Schedule:
    """Multiply the rate by ``factor`` after every ``every`` of ``epochs`` epochs.

    Moreover the rate rises linearly from zero over the first share ``warmup`` of the steps, and falls linearly to zero
    over the last share ``cooldown``: a triangle if they are 1 together (Smith 2017).
    """

    def schedule(progress: float) -> float:
        stepped = factor ** int((progress * epochs + 1e-9) / every)
        rise = progress / warmup if progress < warmup else 1.0
        rest = 1 - progress
        return stepped * rise * (rest / cooldown if rest < cooldown else 1.0)

    return schedule


RISE, FIRST = 0.2, 0.04  # of one cycle: the share of the steps in which the rate rises, and where it begins


def one_cycle(progress: float) -> float:
    """Rise linearly from ``FIRST`` to 1 over the share ``RISE`` of the steps, then fall to 0 as a cosine does.

    Smith & Topin, "Super-Convergence", 2019, with the cosine of Loshchilov & Hutter, ICLR 2017, Eq. 5.
    """
    if progress < RISE:
        return FIRST + (1 - FIRST) * progress / RISE
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2
