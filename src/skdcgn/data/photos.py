"""Photographs that stay on the disk: ImageNet's layout, ``FOLDER/n01440764/x.JPEG``, decoded when they are needed.

What a photograph looks like in training is a function of a seed, the epoch and its row; so a run that was killed goes
on with the same pixels, whichever threads decode them.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.data.folders import as_tensor, open_picture

LEAST_AREA, WIDEST = 0.08, 4 / 3  # of a random crop: share of the picture, width over height (Szegedy et al. 2015)
TRIES = 10
KEPT = 224 / 256  # of the shorter side, in a middle crop (Krizhevsky et al. 2012)


class Photos(NamedTuple):
    """Files of photographs (N), their labels (N,) int64, and the name of each class."""

    files: list[str]
    labels: Tensor
    names: tuple[str, ...]


def list_photos(folder: Path, names: Sequence[str] | None = None) -> Photos:
    """List every picture of every sub-folder, sorted; none is opened.

    Args:
        folder: one sub-folder of pictures per class.
        names: of the classes 0, 1, ... that a classifier knows; the folder may hold some of them. Default: the
            sub-folders' own names, sorted, as ImageNet numbers its classes.

    Raises:
        UserError: no folder, no sub-folders, a class without pictures, or one that is not among ``names``.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: pass one with a sub-folder of pictures per class")
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise UserError(f"{folder} has no sub-folders: it should have one per class")
    classes = {name: index for index, name in enumerate(names or found)}
    strange = [name for name in found if name not in classes]
    if strange:
        raise UserError(
            f"{folder} has a sub-folder {strange[0]!r}, which is none of the {len(classes)} classes asked for "
            f"({next(iter(classes))!r} is one): pass a folder with those, or take it away"
        )
    files = {name: pictures_in(folder / name) for name in found}
    labels = [classes[name] for name in found for _ in files[name]]
    return Photos([file for part in files.values() for file in part], torch.tensor(labels), tuple(classes))


def pictures_in(folder: Path) -> list[str]:
    """Return the paths of a folder's pictures, sorted; raise UserError if there are none."""
    known = Image.registered_extensions()
    files = sorted(entry.path for entry in os.scandir(folder) if os.path.splitext(entry.name)[1].lower() in known)
    if not files:
        raise UserError(f"{folder} holds no picture that Pillow reads: add some, or remove the folder")
    return files


def random_crop(path: str, size: int, rng: torch.Generator) -> Tensor:
    """Return a random part of a picture, resized and half of the time mirrored: (3, size, size) uint8."""
    picture = open_picture(Path(path))
    box = random_box(*picture.size, rng)
    cut = as_tensor(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return cut.flip(2) if float(torch.rand((), generator=rng)) < 0.5 else cut


def random_box(width: int, height: int, rng: torch.Generator) -> tuple[int, int, int, int]:
    """Draw left, upper, right, lower of a crop whose area and aspect are random (Szegedy et al. 2015, section 6).

    Where none of ``TRIES`` draws fits into the picture, it is the largest square around the middle.
    """
    for area, aspect, x, y in torch.rand(TRIES, 4, generator=rng, dtype=torch.float64).tolist():
        pixels, ratio = width * height * (LEAST_AREA + (1 - LEAST_AREA) * area), WIDEST ** (2 * aspect - 1)
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
        now = begun.pop(step, None) or begin(step)
        if step + 1 < steps:
            begun[step + 1] = begin(step + 1)
        return torch.stack([image.result() for image in now])

    return batch_at


def in_batches(
    files: Sequence[str], read: Callable[[str], Tensor], batch_size: int, pool: Executor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and images (B, 3, S, S) uint8 of all files in order; the last batch may be smaller."""
    for start in range(0, len(files), batch_size):
        rows = slice(start, min(start + batch_size, len(files)))
        yield rows, torch.stack(list(pool.map(read, files[rows])))


IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
