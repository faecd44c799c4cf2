"""Intervals: coverage of planted binomials, Jeffreys' interval as the oracle, exact ends, paired differences."""

import torch
from scipy.stats import beta

from skdcgn.base.seeds import generator
from skdcgn.metrics.intervals import difference_ends, ends, share_draws, share_ends


def planted(hits: int, n: int) -> torch.Tensor:
    return (torch.arange(n) < hits)[:, None]


def test_a_share_has_jeffreys_interval() -> None:
    for hits, n in ((1, 50), (40, 100), (300, 1000)):
        low, high = ends(share_draws(planted(hits, n), generator(hits, n), draws=20_000))[:, 0].tolist()
        expected = beta.ppf([0.025, 0.975], hits + 0.5, n - hits + 0.5)
        width = expected[1] - expected[0]
        assert abs(low - expected[0]) < 0.02 * width
        assert abs(high - expected[1]) < 0.02 * width


def test_ends_are_exact_where_all_outcomes_are_one() -> None:
    outcomes = torch.tensor([[False, True]]).expand(80, 2)
    shares = share_ends(outcomes, share_draws(outcomes, generator("exact")))
    assert shares[:2, 0].tolist() == [0, 0]
    assert 0.01 < shares[2, 0] < 0.05
    assert shares[[0, 2], 1].tolist() == [1, 1]
    assert 0.95 < shares[1, 1] < 0.99


def test_intervals_cover_planted_binomials() -> None:
    truths, n, repeats = torch.tensor([0.05, 0.3, 0.5]), 200, 400
    covered = torch.zeros(3)
    for repeat in range(repeats):
        outcomes = torch.rand(n, 3, generator=generator("planted", repeat)) < truths
        _, low, high = share_ends(outcomes, share_draws(outcomes, generator("draws", repeat), draws=800))
        covered += (low <= truths) & (truths <= high)
    assert 0.93 <= float(covered.mean() / repeats) <= 0.97


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    first = torch.rand(500, 1, generator=generator("first")) < 0.5
    second = first.clone()
    second[:10] = ~second[:10]
    widths = []
    for outcomes in (torch.cat([first, second], 1), torch.cat([first, first.flip(0)], 1)):
        draws = share_draws(outcomes, generator("paired"))
        values = outcomes.double().mean(0)
        low, high = difference_ends(values[:1] - values[1:], draws[:, :1] - draws[:, 1:])[1:, 0].tolist()
        assert low <= float(values[0] - values[1]) <= high
        widths.append(high - low)
    assert widths[0] < widths[1] / 3
