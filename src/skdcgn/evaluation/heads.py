"""Logits of an ensemble and its heads on images that stay on the disk, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.classifiers.ensemble import WHOLE, WORKERS, Ensemble
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.photos import in_batches

Logits = Callable[[Tensor], dict[str, Tensor]]  # images (B, 3, S, S) in [-1, 1] -> logits (B, K) by head, on the CPU
BATCH = 64


def head_logits(ensemble: Ensemble) -> Logits:
    """Return the logits of the ``ensemble``, the mean of its heads', and of each head by its mechanism.

    An ensemble of one head has the entry ``ensemble`` alone.
    """
    device, names = next(ensemble.parameters()).device, tuple(ensemble.heads)
    ensemble.eval()

    def logits(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            heads = ensemble(images.to(device)).cpu()  # (H, B, K)
        return {WHOLE: heads.mean(0), **dict(zip(names, heads, strict=True))}

    return logits


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
