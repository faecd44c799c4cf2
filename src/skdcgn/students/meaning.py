"""Whether the noise of pairs says anything about their pictures: a student of noise that does not learns class means.

Kernel ridge regression predicts small pictures, each about the mean of its class, from noise and label,

.. math:: f(u, y) = sum_i k(u, y; u_i, y_i) a_i,  a = (K + r I)^{-1} x,
          k = (u . u_i / Z + exp(-|u - u_i|^2 / (2 Z))) (1 + [y = y_i]) / 4

(Saunders et al. 1998), so that noise may mean the same in all classes or something else in each. It is fitted twice, to
the pairs and to the same pairs with the pictures of each class in another order. If both are equally wrong on held-out
pairs, the noise explains nothing.
"""

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import Noise
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.stored import StoredPairs, small_pictures
from skdcgn.students.start import first_of_each_class

ROWS, LEAST_ROWS = 1500, 500
PER_CLASS = 30  # least pairs of a class that takes part
FEW_ROWS, FEW_PER_CLASS = 200, 5  # of recorded pairs
SIDE = 8  # of the small pictures
RIDGES = (0.03, 0.3, 3.0, 30.0)  # r, where k(u, y; u, y) is about 1
CONSTANT = 0.01  # root mean square, in the span of the values, below which pictures are those of their class
GAIN = 0.03  # share of the squared error that noise must explain

logger = logging.getLogger(__name__)


class NoiseMeaning(NamedTuple):
    """Root mean square errors on held-out small pictures: from noise, from shuffled noise, from the label alone."""

    error: float
    shuffled: float
    label_mean: float

    @property
    def explains_nothing(self) -> bool:
        """Whether pictures differ within a class, and noise predicts them no better than shuffled noise."""
        return self.label_mean > CONSTANT and self.error**2 > (1 - GAIN) * self.shuffled**2


def warn_of_meaningless_noise(pairs: StoredPairs) -> None:
    """Log a warning with both errors if the noise of ``pairs`` explains nothing of their pictures.

    Of recorded pairs, whose noise may be that of other pictures, both errors are logged in any case.
    """
    recorded = pairs.plan.noise is Noise.RECORDED
    meaning = recorded_meaning(pairs) if recorded else noise_meaning(pairs)
    if meaning and meaning.explains_nothing:
        logger.warning(f"{pairs.folder}: {meaning_words(meaning, pairs.mechanism)}")
    elif meaning and recorded:
        logger.info(f"{pairs.folder}: {meaning_words(meaning, pairs.mechanism)}")


def recorded_meaning(pairs: StoredPairs) -> NoiseMeaning | None:
    """Return :func:`noise_meaning` of recorded pairs, of which there may be few."""
    return noise_meaning(pairs, least=FEW_ROWS, per_class=FEW_PER_CLASS)


def meaning_words(meaning: NoiseMeaning, mechanism: Mechanism) -> str:
    """Return both errors, and a warning if the noise explains nothing, in words."""
    if not meaning.explains_nothing:
        words = f"held-out error {meaning.error:.3f}, with shuffled pairs {meaning.shuffled:.3f}"
        return words if meaning.label_mean > CONSTANT else f"{words}: pictures hardly differ within a class"
    pictures = {Mechanism.SHAPE: "masks", Mechanism.TEXTURE: "textures", Mechanism.BACKGROUND: "backgrounds"}[mechanism]
    return (
        f"the noise explains nothing of the {pictures}: held-out error {meaning.error:.3f}, with shuffled pairs "
        f"{meaning.shuffled:.3f}; a student will learn hardly more than the mean of each class: let the "
        f"teacher's noise decide its {pictures}, or check that noise and pictures belong together"
    )


def noise_meaning(pairs: StoredPairs, *, least: int = LEAST_ROWS, per_class: int = PER_CLASS) -> NoiseMeaning | None:
    """Predict held-out small pictures from noise, true and shuffled; None if there are too few pairs to tell.

    A function of the pairs alone: random numbers come from a generator of its own.

    Args:
        least: pairs that must take part. From fewer than 200, errors differ by chance.
        per_class: least pairs of a class that takes part.
    """
    rows = _rows(pairs.labels, per_class)
    if len(rows) < least:
        return None
    noise, labels, pictures = pairs.noise[rows], pairs.labels[rows], small_pictures(pairs, rows, SIDE).double()
    held_out = torch.arange(len(rows)) % 3 == 0
    kernel = _kernel(noise, labels)
    fitted = kernel[~held_out][:, ~held_out], kernel[held_out][:, ~held_out]
    means = _class_means(pictures[~held_out], labels[~held_out])
    residuals = pictures - means[labels]
    values, targets = residuals[~held_out], residuals[held_out]
    shuffled = values[_shuffle_within(labels[~held_out])]
    return NoiseMeaning(
        error=_least_error(*fitted, values, targets),
        shuffled=_least_error(*fitted, shuffled, targets),
        label_mean=_root_mean_square(targets),
    )


def _rows(labels: Tensor, per_class: int) -> Tensor:
    """Choose at most ``ROWS`` pairs, in random order, of as many classes as have ``per_class`` of them or more."""
    classes = labels.bincount().ge(per_class).nonzero()[: ROWS // per_class, 0]
    own = torch.isin(labels, classes).nonzero()[:, 0]
    rows = own[first_of_each_class(labels[own], ROWS)] if len(own) else own
    return rows[torch.randperm(len(rows), generator=generator("meaning", "order"))]


def _kernel(noise: Tensor, labels: Tensor) -> Tensor:
    noise = noise.double()
    products, squares = noise @ noise.T / noise.shape[1], noise.square().mean(1)
    distances = squares[:, None] + squares - 2 * products
    return (products + (-distances / 2).exp()) * (1 + (labels[:, None] == labels)) / 4


def _class_means(pictures: Tensor, labels: Tensor) -> Tensor:
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, pictures.shape[1], dtype=pictures.dtype).index_add_(0, labels, pictures)
    return sums / labels.bincount(minlength=classes).clamp(min=1)[:, None]


def _shuffle_within(labels: Tensor) -> Tensor:
    """Return an order (N,) that shuffles the rows of each class among themselves."""
    order, rng = torch.empty_like(labels), generator("meaning", "shuffle")
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        order[own] = own[torch.randperm(len(own), generator=rng)]
    return order


def _least_error(kernel: Tensor, held_out: Tensor, values: Tensor, targets: Tensor) -> float:
    """Fit ``values`` (N, D) with each ridge; return the least root mean square error on ``targets`` (M, D)."""
    identity = torch.eye(len(kernel), dtype=kernel.dtype)
    roots = [torch.linalg.cholesky(kernel + ridge * identity) for ridge in RIDGES]
    return min(_root_mean_square(targets - held_out @ torch.cholesky_solve(values, root)) for root in roots)


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
