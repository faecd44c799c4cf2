"""Pictures in folders: one sub-folder per class, any format that Pillow reads."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.data.images import LabelledImages, PhotoFiles

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow's readers raise


def list_photos(folder: Path, names: Sequence[str] | None = None) -> PhotoFiles:
    """List every picture of every sub-folder, sorted; none is opened.

    Args:
        folder: one sub-folder of pictures per class.
        names: of the classes 0, 1, ... of a classifier; the folder may hold some of them. Default: the sub-folders'
            own names, sorted, as ImageNet numbers its classes.

    Raises:
        UserError: no folder, no sub-folders, a class without pictures, or one that is not among ``names``.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: pass one with a sub-folder of pictures per class")
    folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise UserError(f"{folder} has no sub-folders: it should have one per class")
    classes = {name: index for index, name in enumerate(names or folders)}
    strange = [name for name in folders if name not in classes]
    if strange:
        raise UserError(
            f"{folder} has a sub-folder {strange[0]!r}, which is none of the {len(classes)} classes "
            f"({next(iter(classes))!r} is one): pass a folder with those, or remove it"
        )
    files = {name: pictures_in(folder / name) for name in folders}
    labels = [classes[name] for name in folders for _ in files[name]]
    return PhotoFiles([file for part in files.values() for file in part], torch.tensor(labels), tuple(classes))


def pictures_in(folder: Path) -> list[str]:
    """Return the paths of a folder's pictures, sorted; raise UserError if there are none."""
    extensions = Image.registered_extensions()
    entries = [entry for entry in os.scandir(folder) if os.path.splitext(entry.name)[1].lower() in extensions]
    files = sorted(entry.path for entry in entries if entry.is_file())
    if not files:
        raise UserError(f"{folder} holds no picture that Pillow reads: add some, or remove the folder")
    return files


def load_pictures(folder: Path, size: int) -> LabelledImages:
    """Read every picture of every sub-folder as uint8; the sub-folders' names, sorted, are the classes 0, 1, ...

    Each is turned as its EXIF data say, cut to the largest square around its middle and resized to ``size``.

    Raises:
        UserError: no folder, fewer than two classes, a class without pictures, a picture that cannot be read.
    """
    photos = list_photos(folder)
    if len(photos.names) < 2:
        raise UserError(f"{folder} has 1 sub-folder: it should have two or more, one per class")
    images = torch.stack([read_picture(Path(file), size) for file in photos.files])
    return LabelledImages(images, photos.labels, photos.names)


def read_picture(path: Path, size: int) -> Tensor:
    """Return one picture (3, size, size) uint8, upright, cut to a square and resized."""
    return as_tensor(ImageOps.fit(open_picture(path), (size, size), Image.Resampling.BILINEAR))


def open_picture(path: Path) -> Image.Image:
    """Return one picture in RGB, upright; raise UserError if Pillow cannot read it."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UNREADABLE:
        raise UserError(f"{path} is not a picture that Pillow can read: replace it or remove it") from None


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture's pixels as (3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def as_unit(images: Tensor) -> Tensor:
    """Scale uint8 images to [-1, 1]; return floats as they are."""
    return images if images.is_floating_point() else images / 127.5 - 1
