"""Crops of photographs that stay on the disk, decoded by threads when they are needed.

A crop is a function of the file and a seeded generator, whichever thread decodes it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from skdcgn.data.decoding import open_picture
from skdcgn.data.folders import as_tensor

LEAST_AREA, WIDEST = 0.08, 4 / 3  # of a random crop: share of the picture, width over height (Szegedy et al. 2015)
TRIES = 10
KEPT = 224 / 256  # of the shorter side, in a middle crop (Krizhevsky et al. 2012)


def random_crop(path: str, size: int, rng: torch.Generator, least_area: float = LEAST_AREA) -> Tensor:
    """Return a random part of a picture, resized and mirrored with probability 1/2: (3, size, size) uint8.

    It shows the share ``least_area`` of the picture or more.
    """
    picture = open_picture(Path(path))
    box = random_box(*picture.size, rng, least_area)
    cut = as_tensor(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return cut.flip(2) if float(torch.rand((), generator=rng)) < 0.5 else cut


def random_box(
    width: int, height: int, rng: torch.Generator, least_area: float = LEAST_AREA
) -> tuple[int, int, int, int]:
    """Draw left, upper, right, lower of a crop whose area and aspect are random (Szegedy et al. 2015, section 6).

    Where none of ``TRIES`` draws fits into the picture, it is the largest square around the middle.
    """
    for area, aspect, x, y in torch.rand(TRIES, 4, generator=rng, dtype=torch.float64).tolist():
        pixels, ratio = width * height * (least_area + (1 - least_area) * area), WIDEST ** (2 * aspect - 1)
        w, h = max(1, round(math.sqrt(pixels * ratio))), max(1, round(math.sqrt(pixels / ratio)))
        if w <= width and h <= height:
            left, upper = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, upper, left + w, upper + h
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def middle_crop(path: str, size: int) -> Tensor:
    """Return the middle square of a picture, 7/8 of its shorter side wide, as (3, size, size) uint8."""
    picture = open_picture(Path(path))
    side = KEPT * min(picture.size)
    left, upper = ((length - side) / 2 for length in picture.size)
    box = (left, upper, left + side, upper + side)
    return as_tensor(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))


def read_ahead(begin: Callable[[int], list[Future[Tensor]]], steps: int) -> Callable[[int], Tensor]:
    """Return ``step -> batch`` where the next step's images are decoded while this one's are used.

    ``begin(step)`` submits one image (3, S, S) per future; it must be a function of the step alone.
    """
    begun: dict[int, list[Future[Tensor]]] = {}

    def batch_at(step: int) -> Tensor:
        futures = begun.pop(step, None) or begin(step)
        if step + 1 < steps:
            begun[step + 1] = begin(step + 1)
        return torch.stack([image.result() for image in futures])

    return batch_at


def in_batches(
    files: Sequence[str], read: Callable[[str], Tensor], batch_size: int, pool: Executor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and images (B, 3, S, S) uint8 of all files in order; the last batch may be smaller."""
    for start in range(0, len(files), batch_size):
        rows = slice(start, min(start + batch_size, len(files)))
        yield rows, torch.stack(list(pool.map(read, files[rows])))


IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return images resized to ``size`` pixels of a side, bilinear with antialiasing; as they are for None."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True).clamp(-1, 1)
