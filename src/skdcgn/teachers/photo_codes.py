"""Codes of photographs: whitened principal components of small pictures about the mean of their class."""

import torch
from torch import Tensor

SIDE = 16  # pixels of a small picture


def principal_codes(pictures: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Return codes (N, dim) float32 of mean 0 in each class and, where pictures vary so much, of variance 1.

    Components are those of the pooled covariance within classes; a component without variance is 0.

    Args:
        pictures: (N, D) floating point.
        labels: (N,) int64.
        dim: number of components, of the most variance.
    """
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, pictures.shape[1]).index_add_(0, labels, pictures)
    means = sums / labels.bincount(minlength=classes).clamp(min=1)[:, None]
    centred = (pictures - means[labels]).double()
    variances, components = torch.linalg.eigh(centred.mT @ centred / len(centred))  # ascending
    codes = centred @ components[:, -dim:].flip(1) * _inverse_roots(variances[-dim:].flip(0))
    return torch.nn.functional.pad(codes, (0, dim - codes.shape[1])).float()


def _inverse_roots(variances: Tensor) -> Tensor:
    """Return 1 / sqrt(v), and 0 where v is rounding error of the largest."""
    return torch.where(variances > 1e-9 * variances.max(), variances.clamp(min=1e-12).rsqrt(), 0)
