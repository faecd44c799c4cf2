"""Intervals of shares that are measured on the same pictures: the Bayesian bootstrap (Rubin 1981).

A posterior draw weighs picture i by w_i, w ~ Dirichlet(1, ..., 1), the same weights for every share, so that the draws
of two shares subtract pair by pair. Each share has half a picture of either outcome added, of weights Gamma(1/2): the
draws of a share of k in N pictures are then Beta(k + 1/2, N - k + 1/2), whose quantiles are Jeffreys' interval. Where
k is 0 or N, the end is exact, 0 or 1 (Brown, Cai & DasGupta 2001, Section 4.1).
"""

import torch
from torch import Tensor

DRAWS = 4000
ROWS = 512  # pictures whose weights are in memory at once
LEVEL = 0.95


def share_draws(outcomes: Tensor, rng: torch.Generator, *, draws: int = DRAWS) -> Tensor:
    """Return posterior draws (draws, C) in [0, 1], float64, of the shares of True in the columns of (N, C) bool.

    Memory is that of the draws and of ``ROWS`` pictures.
    """
    columns = outcomes.shape[1]
    hits, total = torch.zeros(draws, columns, dtype=torch.float64), torch.zeros(draws, 1, dtype=torch.float64)
    for rows in outcomes.split(ROWS):
        weights = torch.empty(draws, len(rows), dtype=torch.float64).exponential_(generator=rng)
        hits += weights @ rows.double()
        total += weights.sum(1, keepdim=True)
    halves = torch.randn(2, draws, columns, generator=rng, dtype=torch.float64).square() / 2
    return (hits + halves[0]) / (total + halves.sum(0))


def ends(draws: Tensor, *, level: float = LEVEL) -> Tensor:
    """Return the ends (2, C) of the central intervals of posterior draws (draws, C)."""
    tail = (1 - level) / 2
    return draws.quantile(torch.tensor([tail, 1 - tail], dtype=draws.dtype), dim=0)


def share_ends(outcomes: Tensor, draws: Tensor, *, level: float = LEVEL) -> Tensor:
    """Return values and ends (3, C) in [0, 1] of the shares of True in (N, C) bool, exact at 0 and 1."""
    values = outcomes.double().mean(0)
    low, high = ends(draws, level=level)
    return torch.stack([values, low.minimum(values) * (values > 0), torch.where(values < 1, high.maximum(values), 1.0)])


def difference_ends(values: Tensor, draws: Tensor, *, level: float = LEVEL) -> Tensor:
    """Return values and ends (3, C) of differences, from their values (C,) and posterior draws (draws, C)."""
    low, high = ends(draws, level=level)
    return torch.stack([values, low.minimum(values), high.maximum(values)])
