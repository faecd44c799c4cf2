"""Distances between two sets of features, in float64.

    Frechet     |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))     Heusel et al. 2017, Eq. 6 (FID)
    kernel      unbiased MMD^2 with k(x, y) = (x.y / D + 1)^3           Binkowski et al. 2018 (KID)
    precision   share of generated inside the balls around real ones    Kynkaanniemi et al. 2019, Eq. 1-2
    recall      share of real inside the balls around generated ones    the same
    density     mean number of real balls around a generated one / k    Naeem et al. 2020
    coverage    share of real balls that hold a generated one           the same

A ball is closed and reaches from a point to its k-th nearest neighbour in its own set. torchmetrics has the first two
as modules that own their extractor and use the global random generator; these are functions of features and a seed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.metrics.moments import Moments

SUBSETS, SUBSET_SIZE = 100, 1000
MANIFOLD_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
BLOCK = 512  # rows whose distances to all others are in memory at once
EXACT = "donot_use_mm_for_euclid_dist"  # by matrix products, a point would lie 1e-8 away from itself


def frechet_distance(first: Moments, second: Moments) -> float:
    """Frechet distance of the Gaussians with these moments; 0 for equal ones, biased upwards below some 10 D rows.

    tr (C_1 C_2)^(1/2) is the sum of the singular values of C_1^(1/2) C_2^(1/2), which is exact where a covariance has
    no full rank; roots of the eigenvalues of C_1 C_2 would amplify rounding errors there.
    """
    covariances = first.covariance, second.covariance
    shared = torch.linalg.svdvals(_root(covariances[0]) @ _root(covariances[1])).sum()
    shift = (first.mean - second.mean).square().sum()
    return max(0.0, float(shift + covariances[0].trace() + covariances[1].trace() - 2 * shared))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


class KernelDistance(NamedTuple):
    """Mean and standard deviation over random subsets."""

    value: float
    deviation: float


def kernel_distance(
    first: Tensor, second: Tensor, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> KernelDistance:
    """Kernel distance (KID) of features (N, D) and (M, D), over random subsets no larger than either set.

    Raises:
        UserError: fewer than two rows in either set.
    """
    size, rng = min(len(first), len(second), subset_size), generator(seed, "kernel distance")
    if size < 2:
        raise UserError(f"the kernel distance of {size} image is undefined: pass at least two in each set")
    sets = first.double(), second.double()
    values = torch.stack(
        [_mmd(*(rows[torch.randperm(len(rows), generator=rng)[:size]] for rows in sets)) for _ in range(subsets)]
    )
    return KernelDistance(float(values.mean()), float(values.std(correction=0)))


def _mmd(first: Tensor, second: Tensor) -> Tensor:
    return _mean_of_pairs(first) + _mean_of_pairs(second) - 2 * _kernel(first, second).mean()


def _mean_of_pairs(rows: Tensor) -> Tensor:
    """Mean kernel of two different rows."""
    kernel = _kernel(rows, rows)
    return (kernel.sum() - kernel.trace()) / (len(rows) * (len(rows) - 1))


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    recall: float


def precision_recall(
    real: Tensor, generated: Tensor, k: int = MANIFOLD_NEIGHBOURS, *, block: int = BLOCK
) -> PrecisionRecall:
    """Improved precision and recall of features (M, D) against real ones (N, D).

    Args:
        real: features of real images.
        generated: features of generated images.
        k: which nearest neighbour a ball reaches to.
        block: rows whose distances to all others are in memory at once.

    Raises:
        UserError: a set of at most ``k`` rows.
    """
    precision = _count_balls(generated, real, k, block).around_point > 0
    recall = _count_balls(real, generated, k, block).around_point > 0
    return PrecisionRecall(float(precision.double().mean()), float(recall.double().mean()))


class DensityCoverage(NamedTuple):
    """Density, which may exceed 1, and coverage in [0, 1]."""

    density: float
    coverage: float


def density_coverage(
    real: Tensor, generated: Tensor, k: int = DENSITY_NEIGHBOURS, *, block: int = BLOCK
) -> DensityCoverage:
    """Density and coverage of features (M, D) against real ones (N, D); arguments as of :func:`precision_recall`.

    Raises:
        UserError: at most ``k`` real rows.
    """
    counts = _count_balls(generated, real, k, block)
    density = float(counts.around_point.double().mean()) / k
    return DensityCoverage(density, float((counts.inside_ball > 0).double().mean()))


class _BallCounts(NamedTuple):
    """How many balls lie around each point (M,), and how many points lie inside each ball (N,)."""

    around_point: Tensor
    inside_ball: Tensor


def _count_balls(points: Tensor, centres: Tensor, k: int, block: int) -> _BallCounts:
    """Count the ``points`` (M, D) within the balls around ``centres`` (N, D)."""
    points, centres = points.double(), centres.double()
    radii, around_point = _radii(centres, k, block), []
    inside_ball = torch.zeros(len(centres), dtype=torch.int64)
    for rows in points.split(block):
        within = torch.cdist(rows, centres, compute_mode=EXACT) <= radii
        around_point.append(within.sum(1))
        inside_ball += within.sum(0)
    return _BallCounts(torch.cat(around_point), inside_ball)


def _radii(rows: Tensor, k: int, block: int) -> Tensor:
    """Distance (N,) of each row to its k-th nearest other one."""
    if len(rows) <= k:
        raise UserError(f"{len(rows)} images have no {k} nearest neighbours each: pass at least {k + 1}")
    distances = (torch.cdist(part, rows, compute_mode=EXACT) for part in rows.split(block))
    return torch.cat([part.kthvalue(k + 1, dim=1).values for part in distances])


def intra_class_frechet(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], classes: int) -> Tensor:
    """Frechet distance within each class, (classes,), of features (N, D) and labels (N,) (Miyato & Koyama 2018).

    Raises:
        UserError: a class has fewer than two images in either set.
    """
    return torch.tensor([_frechet_within(first, second, c) for c in range(classes)], dtype=torch.float64)


def _frechet_within(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], label: int) -> float:
    rows = [features[labels == label] for features, labels in (first, second)]
    if min(map(len, rows)) < 2:
        raise UserError(f"class {label} has {len(rows[0])} and {len(rows[1])} images: pass at least two in each set")
    return frechet_distance(*map(Moments.of, rows))
