"""Numbers that describe what a mechanism draws."""

import torch
from torch import Tensor


def class_diversity(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean pairwise L1 distance per pixel between images (N, C, H, W) of each class: (classes,), NaN if < 2."""
    return torch.stack([_mean_distance(images[labels == c].flatten(1)) for c in range(classes)])


def _mean_distance(rows: Tensor) -> Tensor:
    count = len(rows)
    if count < 2:
        return torch.tensor(float("nan"))
    return torch.cdist(rows, rows, p=1).sum() / (count * (count - 1) * rows.shape[1])


def paired_l1(drawn: Tensor, wanted: Tensor) -> float:
    """Mean |drawn - wanted| over all pixels of (N, C, H, W)."""
    return float((drawn - wanted).abs().mean(dtype=torch.float64))


def label_means(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean image of each class, (classes, C, H, W): what a student draws that ignores the noise."""
    sums = torch.zeros(classes, *images.shape[1:]).index_add_(0, labels, images)
    return sums / labels.bincount(minlength=classes).clamp(min=1)[:, None, None, None]


def nearest_iou(masks: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor) -> float:
    """Mean, over binary masks (N, 1, H, W), of the greatest IoU with a real mask (M, 1, H, W) of the same class."""
    best = [_greatest_iou(masks[labels == c].flatten(1), real[real_labels == c].flatten(1)) for c in labels.unique()]
    return float(torch.cat(best).mean())


def _greatest_iou(rows: Tensor, others: Tensor) -> Tensor:
    both = rows @ others.T
    return (both / (rows.sum(1)[:, None] + others.sum(1) - both).clamp(min=1)).amax(1)
