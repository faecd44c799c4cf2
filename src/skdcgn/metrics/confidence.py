r"""Upper bounds of means that hold whenever one looks: confidence sequences by betting.

Values x_1, x_2, ... of one mean mu, each at most ``high``. Whoever bets lambda_i >= 0, chosen before x_i is seen, that
the mean is below m has after t values the capital

.. math:: K_t(m) = \prod_{i \le t} (1 + \lambda_i(m) (m - x_i)),
          \quad \lambda_i(m) = \min(\lambda_i, c / (\mathit{high} - m)).

K_t(mu) is a nonnegative martingale that begins at 1. By Ville's inequality it ever reaches 1/alpha with probability
alpha at most; so, with probability 1 - alpha, mu lies at every t at once below each m whose capital has reached
1/alpha. K_t(m) grows with m. This is the upper side of the betting confidence sequence of Waudby-Smith & Ramdas (2024,
JRSS B 86, Theorem 3), with their predictable plug-in bets for a horizon of n values,

.. math:: \lambda_i = \sqrt{2 \log(1 / \alpha) / (n \hat\sigma_{i-1}^2)},
          \quad \hat\sigma_i^2 = \frac{v + \sum_{j \le i} (x_j - \hat\mu_j)^2}{i + 1},

where v is the guess of the variance before the first value. The horizon is where the bound is narrowest, not where it
begins to hold.
"""

import math

import torch
from torch import Tensor

SHARE = 0.9  # c: the most of its capital that a bet can lose, as a share
HALVINGS = 60  # of the interval that holds the bound


def level_of_look(look: int, alpha: float) -> float:
    """Return the error probability of the ``look``-th look, from 1: alpha / (look (look + 1)), alpha over all looks."""
    return alpha / (look * (look + 1))


def upper_bound(values: Tensor, high: float, alpha: float) -> float:
    """Return a number that the mean exceeds with probability ``alpha`` at most, over all lengths of ``values`` at once.

    One may look after every value and stop when one likes: the bound is the least of those after 1, 2, ..., N values.

    Args:
        values: (N,), in their order, each ``high`` at most; nothing bounds them from below.
        high: the greatest value that is possible, which must not depend on the values.

    Returns:
        ``high`` if the values say nothing.
    """
    values = values.double()
    bets, needed = _bets(values, high, alpha), math.log(1 / alpha)
    low, up = min(float(values.mean()), high) if len(values) else high, high
    if low == high:
        return high
    for _ in range(HALVINGS):
        middle = (low + up) / 2
        if _greatest_log_capital(values, bets, middle, high) >= needed:
            up = middle
        else:
            low = middle
    return up


def _bets(values: Tensor, high: float, alpha: float) -> Tensor:
    """Bets (N,): number i is a function of the values before it."""
    count = torch.arange(1, len(values) + 1, dtype=values.dtype)
    means = (high + values.cumsum(0)) / (count + 1)
    guess = (high / 2) ** 2
    variances = (guess + (values - means).square().cumsum(0)) / (count + 1)
    before = torch.cat([torch.tensor([guess], dtype=values.dtype), variances[:-1]])
    return (2 * math.log(1 / alpha) / (len(values) * before.clamp(min=1e-300))).sqrt()


def _greatest_log_capital(values: Tensor, bets: Tensor, mean: float, high: float) -> float:
    """The greatest log K_t(mean) of all t."""
    return float((bets.clamp(max=SHARE / (high - mean)) * (mean - values)).log1p().cumsum(0).max())


def unseen_share(count: int, alpha: float) -> float:
    """Return p: with probability ``alpha`` at most, more than a share p of draws lie above the greatest of ``count``.

    (1 - p)^count <= exp(-p count) = alpha.
    """
    return min(1.0, -math.log(alpha) / count)
