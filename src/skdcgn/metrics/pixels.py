"""Numbers on pixels: diversity within a class, agreement of image pairs, overlap of masks.

Of pairs, over all images and pixels (s: span of the values, 1 for masks and 2 for pictures):
L1 = mean |x - y|, PSNR = 10 log10(s^2 / mean (x - y)^2) in decibels, and the mean SSIM of Wang et al. (2004, Eq. 13)
as torchmetrics has it: a Gaussian window of 11 pixels around every pixel, the image reflected at its edges. All are
sums over images in float64, independent of the batch size.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.records import finite

SSIM_PIXELS = 11


def class_diversity(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean pairwise L1 distance per pixel between images (N, C, H, W) of each class: (classes,), NaN if < 2."""
    return torch.stack([_mean_distance(images[labels == c].flatten(1)) for c in range(classes)])


def _mean_distance(rows: Tensor) -> Tensor:
    count = len(rows)
    if count < 2:
        return torch.tensor(float("nan"))
    return torch.cdist(rows, rows, p=1).sum() / (count * (count - 1) * rows.shape[1])


def paired_l1(images: Tensor, targets: Tensor) -> float:
    """Mean |images - targets| over all pixels of (N, C, H, W)."""
    return float((images - targets).abs().mean(dtype=torch.float64))


class PairAgreement(NamedTuple):
    """Agreement of image pairs: mean |difference|, decibels (infinite if equal), mean SSIM, how many pairs."""

    l1: float
    psnr: float
    ssim: float
    pairs: int

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON values; the decibels of equal images, which are infinite, are None."""
        return {**self._asdict(), "psnr": finite(self.psnr)}


def pair_agreement(batches: Iterable[tuple[Tensor, Tensor]], low: float) -> PairAgreement:
    """Compare pairs of images (B, C, H, W) in [low, 1], batch by batch.

    Raises:
        UserError: no pairs, images of different shapes, or smaller than the window of SSIM.
    """
    count, span, sums = 0, 1 - low, torch.zeros(3, dtype=torch.float64)
    for images, targets in batches:
        _check_shapes(images, targets)
        sums += _sums(images.double(), targets.double(), span)
        count += len(images)
    if not count:
        raise UserError("there are no pairs to compare: pass at least one")
    l1, square, ssim = (sums / count).tolist()
    return PairAgreement(l1, 10 * math.log10(span**2 / square) if square else math.inf, ssim, count)


def _check_shapes(images: Tensor, targets: Tensor) -> None:
    if images.shape != targets.shape or images.ndim != 4 or min(images.shape[-2:]) < SSIM_PIXELS:
        raise UserError(
            f"image pairs have shapes {tuple(images.shape)} and {tuple(targets.shape)}: "
            f"pass two of the same (B, C, H, W), {SSIM_PIXELS} pixels wide or more"
        )


def _sums(images: Tensor, targets: Tensor, span: float) -> Tensor:
    """Sums over a batch of each image's mean |difference|, mean square difference and SSIM: (3,) float64."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # imports in 1.5 s

    difference = (images - targets).flatten(1)
    ssim = structural_similarity_index_measure(
        images, targets, kernel_size=SSIM_PIXELS, data_range=span, reduction="sum"
    )
    return torch.stack([difference.abs().mean(1).sum(), difference.square().mean(1).sum(), torch.as_tensor(ssim)])


def label_means(batches: Iterable[tuple[Tensor, Tensor]], shape: tuple[int, ...]) -> Tensor:
    """Mean image of each class over batches of images (B, C, H, W) and labels (B,); 0 for a class without images.

    ``shape`` is that of the result: (classes, C, H, W).
    """
    sums, counts = torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64)
    for images, labels in batches:
        sums.index_add_(0, labels, images)
        counts += labels.bincount(minlength=shape[0])
    return sums.div_(counts.clamp(min=1)[:, None, None, None])  # in place: gigabytes for ImageNet


def nearest_iou(masks: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor) -> float:
    """Mean, over binary masks (N, 1, H, W), of the greatest IoU with a real mask (M, 1, H, W) of the same class."""
    best = [_greatest_iou(masks[labels == c].flatten(1), real[real_labels == c].flatten(1)) for c in labels.unique()]
    return float(torch.cat(best).mean())


def _greatest_iou(rows: Tensor, others: Tensor) -> Tensor:
    intersection = rows @ others.T
    union = rows.sum(1)[:, None] + others.sum(1) - intersection
    return (intersection / union.clamp(min=1)).amax(1)
