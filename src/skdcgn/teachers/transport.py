r"""Semi-discrete optimal transport: noise picks one of n points, each equally often.

For noise u in N(0, I) and points c_i, the pick is :math:`\arg\max_i \langle u, c_i \rangle + b_i`. The biases b that
make all picks equally likely are those of the optimal transport of N(0, I) to the points under the squared distance;
they minimise the convex :math:`F(b) = E \max_i (\langle u, c_i \rangle + b_i) - \frac1n \sum_i b_i` (Genevay et al.,
NIPS 2016, Sec. 4), whose gradient is :math:`P(i) - \frac1n`. Averaged stochastic gradient descent solves it.
"""

import torch
from torch import Tensor

STEPS, RATE = 300, 0.03  # the rate in units of the mean norm of a point
SAMPLES, MOST_SAMPLES = 4, 4096  # of a step: for each point, and at most
AT_ONCE = 2**22  # scores in memory


def pick(noise: Tensor, points: Tensor, biases: Tensor) -> Tensor:
    """Return the point (B,) int64 that each noise (B, Z) picks of points (N, Z) with biases (N,).

    In double precision, so that a pick does not depend on what else is in the batch.
    """
    return (noise.double() @ points.double().mT + biases.double()).argmax(1)


def even_biases(points: Tensor, rng: torch.Generator) -> Tensor:
    """Return biases (N,) float32, of mean 0, with which N(0, I) picks each of the points (N, Z) equally often."""
    count, dim = points.shape
    biases = -points.square().sum(1) / 2  # the nearest point of each noise
    rate = RATE * float(points.norm(dim=1).mean())
    total = torch.zeros(count)  # over the second half of the steps
    for step in range(STEPS):
        noise = torch.randn(min(SAMPLES * count, MOST_SAMPLES), dim, generator=rng)
        shares = pick_counts(noise, points, biases) / len(noise)
        biases = biases - rate * (1 + 10 * step / STEPS) ** -0.5 * (count * shares - 1)
        if 2 * step >= STEPS:
            total += biases
    return (total - total.mean()) / (STEPS // 2)


def pick_counts(noise: Tensor, points: Tensor, biases: Tensor) -> Tensor:
    """Return how often noise (B, Z) picks each of points (N, Z): (N,) float32."""
    parts = noise.split(max(1, AT_ONCE // len(points)))
    picks = torch.cat([torch.addmm(biases, part, points.mT).argmax(1) for part in parts])
    return picks.bincount(minlength=len(points)).float()


def evenness(counts: Tensor) -> float:
    """Return the perplexity of picks over the number of points, for counts (N,): 1 if all are equally many."""
    shares = counts / counts.sum()
    return float(torch.special.entr(shares).sum().exp()) / len(counts)
