"""Streaming statistics in float64: moments of features and of class probabilities, merged over batches.

The mean and the scatter S = sum (x - mean)(x - mean)^T of two sets A and B merge without cancellation
(Chan, Golub & LeVeque 1983, Eq. 2.1, for vectors), with d = mean_B - mean_A and n = n_A + n_B:

    mean = mean_A + d n_B / n        S = S_A + S_B + d d^T n_A n_B / n

Any split into batches and any order of merging give the same numbers up to rounding.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from skdcgn.base.errors import UserError


@dataclass(frozen=True)
class Moments:
    """Of ``count`` rows: their mean (D,) and scatter (D, D), float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Moments":
        """Return the moments of at least one row (B, D)."""
        rows = rows.double()
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        count, shift = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter + shift.outer(shift) * (self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance (D, D); raise UserError if there are fewer than two rows."""
        if self.count < 2:
            raise UserError(f"the covariance of {self.count} image is undefined: pass at least two")
        return self.scatter / (self.count - 1)


@dataclass(frozen=True)
class Predictions:
    """Of ``count`` rows of class probabilities p: their mean (K,) and the mean of sum_k p_k log p_k, float64."""

    count: int
    mean: Tensor
    negentropy: float

    @classmethod
    def of(cls, probabilities: Tensor) -> "Predictions":
        """Return the statistics of at least one row (B, K) that sums to 1."""
        rows = probabilities.double()
        return cls(len(rows), rows.mean(0), float(rows.xlogy(rows).sum(1).mean()))

    def __add__(self, other: "Predictions") -> "Predictions":
        count = self.count + other.count
        share = other.count / count
        mean = self.mean + (other.mean - self.mean) * share
        return Predictions(count, mean, self.negentropy + (other.negentropy - self.negentropy) * share)

    @property
    def inception_style(self) -> float:
        """exp(mean KL(p || mean p)), from 1 to the number of classes (Salimans et al. 2016, Sec. 4).

        Over all rows at once: the usual ten splits add a bias that depends on their size (Barratt & Sharma 2018).
        """
        return math.exp(max(0.0, self.negentropy - float(self.mean.xlogy(self.mean).sum())))
