"""The photographs of a run: those of the user or drawings, and which of them are held out to test with."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from skdcgn.base.contents import Reads, folder_reads
from skdcgn.base.errors import UserError
from skdcgn.base.files import writing
from skdcgn.base.photo_config import SYNTHETIC, PhotosConfig
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import match_classes
from skdcgn.data.folders import list_photos
from skdcgn.data.masks import list_masked
from skdcgn.data.reads import photo_reads
from skdcgn.data.synthetic_photos import synthetic_photos

MASKS = "masks"  # folder of a run, for masks that are not the user's
LEAST_PER_CLASS = 2  # photographs, of which one is held out
SAME_CLASSES = "pass test photographs of the training photographs' classes"


class PhotoFolders(NamedTuple):
    """Folders of photographs to train on and to test with, and of their masks."""

    train: Path
    test: Path
    train_masks: Path
    test_masks: Path


def photo_folder_reads(config: PhotosConfig) -> Reads:
    """Return the contents of the photographs and masks that a configuration names; nothing for drawings.

    Raises:
        UserError: no photographs are named, drawings have test photographs or masks of their own, a folder has another
            layout, or the test photographs show other classes.
    """
    if config.images is None:
        raise UserError(f"a run on photographs needs some: pass --images DIR, a sub-folder per class, or {SYNTHETIC}")
    if config.images == SYNTHETIC:
        if config.test or config.masks or config.test_masks:
            raise UserError(f"--images {SYNTHETIC} has its own test photographs and masks: leave yours out")
        return {}
    train = list_photos(Path(config.images))
    reads = dict(photo_reads("images", Path(config.images), train))
    if config.masks:
        reads |= folder_reads("masks", Path(config.masks), list_masked(train, Path(config.masks)).masks)
    if config.test is None:
        return reads
    test, masks = list_photos(Path(config.test)), config.test_masks or config.masks
    match_classes(train.classes(config.images), test.classes(config.test), SAME_CLASSES, some=True)
    reads |= folder_reads("test images", Path(config.test), test.files)
    if masks:
        reads |= folder_reads("masks of the test images", Path(masks), list_masked(test, Path(masks)).masks)
    return reads


def photo_folders(config: PhotosConfig, out: Path) -> PhotoFolders:
    """Return the folders of a run; those that the configuration does not name lie in ``out``.

    Masks that are not named are not there yet: ``out/masks/train`` and ``out/masks/test``.
    """
    if config.images is None or config.images == SYNTHETIC:
        drawings = synthetic_photos(out / "synthetic", seed=config.seed, size=config.image_size)
        return PhotoFolders(drawings.images, drawings.test, drawings.masks, drawings.masks)
    own = out / MASKS
    train_masks = Path(config.masks or own / "train")
    test_masks = Path(config.test_masks or config.masks or own / "test")
    if config.test:
        return PhotoFolders(Path(config.images), Path(config.test), train_masks, test_masks)
    train, test = hold_out(Path(config.images), config.held_out, out / "photographs", seed=config.seed)
    return PhotoFolders(train, test, train_masks, test_masks)


def hold_out(folder: Path, share: float, out: Path, *, seed: int) -> tuple[Path, Path]:
    """Link a share of each class's photographs, one at least, to ``out/test`` and the others to ``out/train``.

    Raises:
        UserError: a class has a single photograph.
    """
    photos = list_photos(folder)
    for label, name in enumerate(photos.names):
        files = [photos.files[row] for row in (photos.labels == label).nonzero()[:, 0].tolist()]
        if len(files) < LEAST_PER_CLASS:
            raise UserError(f"{folder / name} has one photograph: add some, or pass test photographs by --test DIR")
        count = min(max(1, round(share * len(files))), len(files) - 1)
        order = torch.randperm(len(files), generator=generator(seed, "held out", name)).tolist()
        for place, row in enumerate(order):
            _link(Path(files[row]), out / ("test" if place < count else "train") / name)
    return out / "train", out / "test"


def _link(file: Path, folder: Path) -> None:
    """Make a link to a file in ``folder``, unless it is there."""
    link = folder / file.name
    if link.is_symlink():
        return
    with writing(link):
        folder.mkdir(parents=True, exist_ok=True)
        os.symlink(file.resolve(), link)
