"""Logits of an ensemble and its heads on images that stay on the disk, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.classifiers.ensemble import WORKERS, Ensemble
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.photos import in_batches
from skdcgn.evaluation.scores import ENSEMBLE, SHAPE_TEXTURE

Logits = Callable[[Tensor], dict[str, Tensor]]  # images (B, 3, S, S) in [-1, 1] -> logits (B, K) by head, on the CPU
BATCH = 64


def head_logits(ensemble: Ensemble) -> Logits:
    """Return the logits of an ensemble by head (:func:`by_head`)."""
    device, names = next(ensemble.parameters()).device, list(ensemble.heads)
    ensemble.eval()

    def logits(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return by_head(names, ensemble(images.to(device)).cpu())

    return logits


def by_head(names: Sequence[str], heads: Tensor) -> dict[str, Tensor]:
    """Return logits (B, K) of ``ensemble``, the mean of the heads'; of ``shape + texture``, the mean of these two's.

    And of each head, by its name; a classifier of one head has ``ensemble`` alone. The published BG-gap is that of
    shape + texture, the prediction without the background's head (Sauer & Geiger's code, ``shape_texture_preds``).

    Args:
        names: of the heads.
        heads: logits (H, B, K) of the heads.
    """
    mean = {ENSEMBLE: heads.mean(0)}
    if len(names) == 1:
        return mean
    own = dict(zip(names, heads, strict=True))
    return {**mean, SHAPE_TEXTURE: (own["shape"] + own["texture"]) / 2, **own}


def batch_logits(
    logits: Logits, files: Sequence[str], read: Callable[[str], Tensor], batch_size: int
) -> Iterator[tuple[slice, str, Tensor]]:
    """Yield rows, a head and its logits (B, K), batch by batch."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for rows, images in in_batches(files, read, batch_size, pool):
            for head, values in logits(as_unit(images)).items():
                yield rows, head, values


def square_picture(file: str, size: int) -> Tensor:
    """Return the picture of a file, cut to a square and resized: (3, size, size) uint8."""
    return read_picture(Path(file), size)
