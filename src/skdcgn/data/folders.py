"""A user's own pictures: one sub-folder per class, any format that Pillow reads."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from skdcgn.base.errors import UserError

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow's readers raise


class Pictures(NamedTuple):
    """Pictures (N, 3, S, S) uint8, labels (N,) int64 and the name of each class."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load_pictures(folder: Path, size: int) -> Pictures:
    """Read every picture of every sub-folder; the sub-folders' names, sorted, are the classes 0, 1, ...

    Each is turned as its EXIF data say, cut to the largest square around its middle and resized to ``size``.

    Raises:
        UserError: no folder, fewer than two classes, a class without pictures, a picture that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: pass one with a sub-folder of pictures per class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} sub-folders: it should have two or more, one per class")
    files = [_picture_files(path) for path in classes]
    images = torch.stack([read_picture(path, size) for part in files for path in part])
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(part) for part in files]))
    return Pictures(images, labels, tuple(path.name for path in classes))


def _picture_files(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in known)
    if not files:
        raise UserError(f"{folder} holds no picture that Pillow reads: add some, or remove the folder")
    return files


def read_picture(path: Path, size: int) -> Tensor:
    """Return one picture (3, size, size) uint8, upright, cut to a square and resized."""
    return as_tensor(ImageOps.fit(open_picture(path), (size, size), Image.Resampling.BILINEAR))


def open_picture(path: Path) -> Image.Image:
    """Return one picture in RGB, upright; raise UserError if Pillow cannot read it."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UNREADABLE:
        raise UserError(f"{path} is not a picture that Pillow can read: replace it or take it away") from None


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture's pixels as (3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def as_unit(images: Tensor) -> Tensor:
    """Bring uint8 images to [-1, 1]; those that are floats are there already."""
    return images if images.is_floating_point() else images / 127.5 - 1
