"""Numbers from features: how far one set of images lies from another. All in float64.

torchmetrics has the first two, but as modules that own their extractor and draw from the global generator; here they
are functions of statistics, so that one pass over the images gives all numbers, by class too, from a seed of their own.

    Frechet     |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))     Heusel et al. 2017, Eq. 6 (FID)
    kernel      unbiased MMD^2 with k(x, y) = (x.y / D + 1)^3           Binkowski et al. 2018 (KID)
    precision   share of drawn inside the balls around real ones        Kynkaanniemi et al. 2019, Eq. 1-2
    recall      share of real inside the balls around drawn ones        the same
    density     mean number of real balls around a drawn one, over k    Naeem et al. 2020
    coverage    share of real balls that hold a drawn one               the same

A ball reaches from a point to its k-th nearest neighbour in its own set, that one included.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.metrics.moments import Moments

SUBSETS, SUBSET_SIZE = 100, 1000
MANIFOLD_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
BLOCK = 512
EXACT = "donot_use_mm_for_euclid_dist"  # by products, a point would lie 1e-8 away from itself


def frechet_distance(first: Moments, second: Moments) -> float:
    """Frechet distance of the Gaussians with these moments; 0 for equal ones, biased upwards below some 10 D rows.

    tr (C_1 C_2)^(1/2) is the sum of the singular values of C_1^(1/2) C_2^(1/2): no root of a rounding error is taken,
    as it is of the eigenvalues of C_1 C_2 where a covariance has no full rank.
    """
    covariances = first.covariance, second.covariance
    shared = torch.linalg.svdvals(_root(covariances[0]) @ _root(covariances[1])).sum()
    gap = (first.mean - second.mean).square().sum()
    return max(0.0, float(gap + covariances[0].trace() + covariances[1].trace() - 2 * shared))


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
    """Kernel distance (KID) of features (N, D) and (M, D): over random subsets, at most as large as either set.

    Raises:
        UserError: fewer than two rows in either set.
    """
    size, rng = min(len(first), len(second), subset_size), generator(seed, "kernel distance")
    if size < 2:
        raise UserError(f"the kernel distance of {size} image is undefined: pass at least two of either set")
    first, second = first.double(), second.double()
    found = torch.stack(
        [
            _mmd(*(rows[torch.randperm(len(rows), generator=rng)[:size]] for rows in (first, second)))
            for _ in range(subsets)
        ]
    )
    return KernelDistance(float(found.mean()), float(found.std(correction=0)))


def _mmd(first: Tensor, second: Tensor) -> Tensor:
    return _mean_of_pairs(first) + _mean_of_pairs(second) - 2 * _kernel(first, second).mean()


def _mean_of_pairs(rows: Tensor) -> Tensor:
    """Mean kernel of two different rows."""
    kernel = _kernel(rows, rows)
    return (kernel.sum() - kernel.trace()) / (len(rows) * (len(rows) - 1))


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


class PrecisionRecall(NamedTuple):
    precision: float
    recall: float


def precision_recall(real: Tensor, drawn: Tensor, k: int = MANIFOLD_NEIGHBOURS) -> PrecisionRecall:
    """Improved precision and recall of features drawn (M, D) against real (N, D); UserError unless N, M > k."""
    found, missed = (_inside(*sets, k).around > 0 for sets in ((drawn, real), (real, drawn)))
    return PrecisionRecall(*(float(inside.double().mean()) for inside in (found, missed)))


class DensityCoverage(NamedTuple):
    density: float
    coverage: float


def density_coverage(real: Tensor, drawn: Tensor, k: int = DENSITY_NEIGHBOURS) -> DensityCoverage:
    """Density (may exceed 1) and coverage of features drawn (M, D) against real (N, D); UserError unless N > k."""
    around, held = _inside(drawn, real, k)
    return DensityCoverage(float(around.double().mean()) / k, float((held > 0).double().mean()))


class _Inside(NamedTuple):
    """In how many balls each point lies (M,), and how many points each ball holds (N,)."""

    around: Tensor
    held: Tensor


def _inside(points: Tensor, centres: Tensor, k: int) -> _Inside:
    """Count the ``points`` (M, D) within the balls around ``centres`` (N, D), a block of points at a time."""
    points, centres = points.double(), centres.double()
    radii, around = _radii(centres, k), []
    held = torch.zeros(len(centres), dtype=torch.int64)
    for block in points.split(BLOCK):
        within = torch.cdist(block, centres, compute_mode=EXACT) <= radii
        around.append(within.sum(1))
        held += within.sum(0)
    return _Inside(torch.cat(around), held)


def _radii(rows: Tensor, k: int) -> Tensor:
    """Distance (N,) of each row to its k-th nearest other one."""
    if len(rows) <= k:
        raise UserError(f"{len(rows)} images have no {k} nearest neighbours each: pass at least {k + 1}")
    away = (torch.cdist(block, rows, compute_mode=EXACT) for block in rows.split(BLOCK))
    return torch.cat([distances.kthvalue(k + 1, dim=1).values for distances in away])


def intra_class_frechet(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], classes: int) -> Tensor:
    """Frechet distance within each class, (classes,), of features (N, D) and labels (N,) (Miyato & Koyama 2018).

    Raises:
        UserError: a class has fewer than two images in either set.
    """
    return torch.tensor([_frechet_within(first, second, c) for c in range(classes)], dtype=torch.float64)


def _frechet_within(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], label: int) -> float:
    rows = [features[labels == label] for features, labels in (first, second)]
    if min(map(len, rows)) < 2:
        raise UserError(f"class {label} has {len(rows[0])} and {len(rows[1])} images: pass at least two of either set")
    return frechet_distance(*map(Moments.of, rows))
