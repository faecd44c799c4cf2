"""Upper bounds of means: coverage of continuous looking by simulation, and width near that of a normal interval."""

import math

import pytest
import torch

from skdcgn.base.seeds import generator
from skdcgn.metrics.confidence import level_of_look, unseen_share, upper_bound

ALPHA, REPEATS, N = 0.1, 300, 300


def rare(rng):  # a loss in a hundred
    return (torch.rand(N, generator=rng) < 0.01).double()


def skewed(rng):  # mostly a small gain, seldom a great loss: nothing bounds values from below
    return torch.where(torch.rand(N, generator=rng) < 0.05, -1.0, 0.1).double()


def bell(rng):
    return (0.1 * torch.randn(N, generator=rng, dtype=torch.float64)).clamp(-0.5, 0.5)


@pytest.mark.parametrize(("draw", "mean", "high"), [(rare, 0.01, 1.0), (skewed, 0.045, 0.1), (bell, 0.0, 0.5)])
def test_bounds_cover_the_mean_though_one_looks_after_every_value(draw, mean, high):
    """A bound is the least of those after 1, ..., N values: it misses if one look of all would have missed."""
    misses = sum(upper_bound(draw(generator("bound", one)), high, ALPHA) < mean for one in range(REPEATS))
    assert misses / REPEATS <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / REPEATS)


def test_a_normal_bound_looked_at_after_every_value_does_not_cover():
    """The oracle of the test above: bounds that hold for one look alone are too low at one of many looks."""
    misses = 0
    for one in range(REPEATS):
        values = bell(generator("bound", one))
        counts = torch.arange(1, N + 1)
        bounds = values.cumsum(0) / counts + 1.28 * 0.1 / counts.sqrt()  # 10 % each
        misses += bool((bounds < 0).any())
    assert misses / REPEATS > 2 * ALPHA


def test_a_bound_is_near_that_of_a_normal_interval_and_falls_with_more_values():
    values = bell(generator("width"))
    width = upper_bound(values, 0.5, 0.05) - float(values.mean())
    assert 1.64 * 0.1 / math.sqrt(N) < width < 2 * 1.64 * 0.1 / math.sqrt(N)
    assert upper_bound(values[:30], 0.5, 0.05) > upper_bound(values, 0.5, 0.05)
    assert upper_bound(values, 5.0, 0.05) > upper_bound(values, 0.5, 0.05) > upper_bound(values, 0.5, 0.2)


def test_values_that_say_nothing_give_the_greatest_value():
    assert upper_bound(torch.zeros(0), 0.3, 0.05) == 0.3
    assert upper_bound(torch.full((9,), 0.3), 0.3, 0.05) == pytest.approx(0.3)
    assert upper_bound(torch.zeros(9), 0.0, 0.05) == 0.0


def test_the_looks_together_have_one_probability_of_error():
    assert sum(level_of_look(look, 0.05) for look in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)


def test_few_draws_lie_above_the_greatest_of_many():
    shares = 1 - torch.rand(400, 200, generator=generator("share")).amax(1)
    assert float((shares > unseen_share(200, 0.1)).double().mean()) < 0.15
    assert unseen_share(1, 0.1) == 1
