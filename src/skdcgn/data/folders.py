"""Pictures in folders: one sub-folder per class, any format that Pillow decodes.

A picture is a regular file, or a link to one, with the ending of a format that Pillow decodes; hidden files, as
``._x.png`` of macOS, and folders are none.
"""

import logging
import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.data.decoding import check_picture, open_picture, picture_formats
from skdcgn.data.images import LabelledImages, PhotoFiles

logger = logging.getLogger(__name__)
RENAME = "rename or remove the sub-folder, or pass a folder of those classes"
MOST_CHECKED = 100_000  # pictures whose headers are read before work begins; a header takes 40 microseconds
MOST_NAMED = 3  # damaged pictures that a message names
READERS = min(16, os.cpu_count() or 1)


def list_photos(folder: Path, own: Classes | None = None) -> PhotoFiles:
    """List every picture of every sub-folder, sorted; none is opened.

    Args:
        folder: one sub-folder of pictures per class.
        own: the classes of a classifier, in whose order pictures are labelled; the folder may hold some of them.
            Default: the sub-folders' own names, sorted, as ImageNet numbers its classes.

    Raises:
        UserError: no folder, no sub-folders, a class without pictures, or one that is none of ``own``.
    """
    folders = class_folders(folder)
    if not folders:
        raise UserError(f"{folder} has no sub-folders: it should have one per class")
    classes = Classes(str(folder), len(folders), tuple(folders))
    numbers = match_classes(own or classes, classes, RENAME, some=True)
    files = [pictures_in(folder / name) for name in folders]
    labels = numbers.repeat_interleave(torch.tensor([len(part) for part in files]))
    return PhotoFiles([file for part in files for file in part], labels, (own or classes).words)


def class_folders(folder: Path) -> list[str]:
    """Return the names of the sub-folders that are not hidden, sorted; they name classes.

    Raises:
        UserError: no folder, a sub-folder that is a link to nothing, or a name with control characters or not in UTF-8.
    """
    names = [entry.name for entry in entries(folder) if _leads_to_folder(entry)]
    for name in names:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UserError(
                f"{folder} has a sub-folder {name!r}, whose name has control characters or is not UTF-8: rename it"
            )
    return names


def pictures_in(folder: Path) -> list[str]:
    """Return the paths of a folder's pictures, sorted; raise UserError if there are none."""
    files = find_pictures(folder)
    if not files:
        raise UserError(f"{folder} holds no picture that Pillow reads: add some, or remove the folder")
    return files


def find_pictures(folder: Path) -> list[str]:
    """Return the paths of a folder's pictures, sorted: files with an ending of a picture that are not hidden.

    Raises:
        UserError: no folder, or the name of a picture is a pipe, a device or a link to nothing.
    """
    formats = picture_formats()
    return [
        entry.path
        for entry in entries(folder)
        if os.path.splitext(entry.name)[1].lower() in formats and _is_picture_file(entry)
    ]


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Return what a folder holds, sorted by name, without hidden files and folders."""
    try:
        with os.scandir(folder) as listing:
            return sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no folder {folder}: pass one with a sub-folder of pictures per class") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"{folder} cannot be read ({error}): check its permissions") from None


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder or a link to one; raise UserError for a link to nothing."""
    if not entry.is_symlink():
        return entry.is_dir()
    leads = os.path.isdir(entry.path)
    if not leads:
        regular_file(Path(entry.path))
    return leads


def _is_picture_file(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a file, not a folder; raise UserError for what is neither."""
    if not entry.is_file(follow_symlinks=False):
        if os.path.isdir(entry.path):
            return False
        regular_file(Path(entry.path))
    return True


def check_pictures(files: Sequence[str], watch: Watch = log_progress, most: int = MOST_CHECKED) -> None:
    """Read the headers of pictures, so that damaged ones stop a run before it begins.

    Of more than ``most`` pictures a seeded sample of so many is read. Damage behind a header shows only when the
    picture is decoded.

    Raises:
        UserError: some are no pictures; the first three are named.
    """
    files = _sample(files, most)
    tell, damages = watch("check pictures", len(files)), list[str]()
    with ThreadPoolExecutor(READERS) as pool:
        for done, damage in enumerate(pool.map(_damage, files), 1):
            damages += [damage] if damage else []
            if not damages:
                tell(done)
    if damages:
        count = f"; {len(damages):,} of {len(files):,} pictures are damaged" if len(damages) > MOST_NAMED else ""
        raise UserError("; ".join(damages[:MOST_NAMED]) + count)


def _sample(files: Sequence[str], most: int) -> Sequence[str]:
    """Return all files, or of more than ``most`` a seeded sample."""
    if len(files) <= most:
        return files
    logger.info(f"{len(files):,} pictures: the headers of a sample of {most:,} are checked")
    rows = torch.randperm(len(files), generator=generator(0, "headers"))[:most]
    return [files[row] for row in rows.sort().values.tolist()]


def _damage(file: str) -> str | None:
    """Return what is wrong with the header of a picture, None if nothing is."""
    try:
        check_picture(Path(file))
    except UserError as error:
        return str(error)
    return None


def load_pictures(folder: Path, size: int, *, least: int = 2) -> LabelledImages:
    """Read every picture of every sub-folder as uint8; the sub-folders' names, sorted, are the classes 0, 1, ...

    Each is upright, on white (:mod:`skdcgn.data.decoding`), cut to the largest square around its middle and resized to
    ``size``. The folder has ``least`` classes or more.

    Raises:
        UserError: no folder, fewer classes, a class without pictures, a picture that cannot be read.
    """
    photos = list_photos(folder)
    if len(photos.names) < least:
        raise UserError(f"{folder} has 1 sub-folder: it should have two or more, one per class")
    images = torch.empty(len(photos), 3, size, size, dtype=torch.uint8)
    for row, file in enumerate(photos.files):
        images[row] = read_picture(Path(file), size)
    return LabelledImages(images, photos.labels, photos.names)


def read_picture(path: Path, size: int) -> Tensor:
    """Return one picture (3, size, size) uint8, upright, cut to a square and resized."""
    return as_tensor(ImageOps.fit(open_picture(path), (size, size), Image.Resampling.BILINEAR))


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture's pixels as (3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def as_unit(images: Tensor) -> Tensor:
    """Scale uint8 images to [-1, 1]; return floats as they are."""
    return images if images.is_floating_point() else images / 127.5 - 1
