"""The folder of ImageNet-9, ``IN9/mixed_rand/val/00_dog/x.JPEG``, and the map from a classifier's classes to its nine.

Xiao et al., "Noise or Signal: The Role of Image Backgrounds in Object Recognition", ICLR 2021. The public download has
the variants ``original``, ``mixed_same``, ``mixed_rand``, ``mixed_next``, ``no_fg``, ``only_bg_b``, ``only_bg_t`` and
``only_fg``, and ``fg_mask``, whose masks are files of NumPy. A folder with ``challenge.json`` has the same layout and a
user's own classes (:mod:`skdcgn.evaluation.challenge`), which are the classifier's, by name, without a map.
"""

import logging
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.data.folders import class_folders, find_pictures, list_photos
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.data.images import PhotoFiles

logger = logging.getLogger(__name__)
IN9_CLASSES = 9
IN9_MAP = "in_to_in9.json"
CHALLENGE = "challenge.json"  # the record in a folder that skdcgn challenge wrote
OWN_CHALLENGE = "make the challenge of test pictures of the classifier's classes"
NO_MAP = "take a classifier of ImageNet-9's classes, or of ImageNet's"


def in9_variants(folder: Path) -> dict[str, PhotoFiles]:
    """List the pictures of each of ImageNet-9's variants, the sub-folders with a ``val`` that holds pictures.

    Raises:
        UserError: no folder, no variant, one of other than nine classes, or a class without pictures.
    """
    photos_of = {name: list_photos(folder / name / "val") for name in _variant_names(folder, pictures=True)}
    if not photos_of:
        raise UserError(
            f"{folder} has no pictures in a folder such as mixed_rand/val: pass the folder that ImageNet-9 unpacks to"
        )
    for name, photos in photos_of.items():
        if len(photos.names) != IN9_CLASSES and not is_challenge(folder):
            raise UserError(f"{folder / name / 'val'} has {len(photos.names)} sub-folders: ImageNet-9 has nine")
    return photos_of


def is_challenge(folder: Path) -> bool:
    """Say whether a folder is a challenge made of a user's own photographs, not ImageNet-9."""
    return (folder / CHALLENGE).is_file()


def log_variants(folder: Path) -> None:
    """Log which variants have no pictures and are left out."""
    if without := _variant_names(folder, pictures=False):
        logger.info(f"{folder}: no pictures in {', '.join(without)}, left out")


def _variant_names(folder: Path, *, pictures: bool) -> list[str]:
    """Return the names of the sub-folders with a ``val`` that holds pictures, or of those whose ``val`` holds none."""
    values = {name: folder / name / "val" for name in class_folders(folder)}
    return [name for name, val in values.items() if val.is_dir() and _holds_pictures(val) == pictures]


def _holds_pictures(val: Path) -> bool:
    return any(find_pictures(val / name) for name in class_folders(val))


def read_in9_map(path: Path, own: Classes) -> Tensor:
    """Read which of the nine classes each class belongs to, (classes,) int64, -1 for none, from the data set's JSON.

    Args:
        path: a JSON object from numbers of classes to one of the nine or -1. ImageNet-9's own has the numbers of
            ImageNet's thousand classes, of which the classifier's are found by their WordNet ids; one of as many
            entries as the classifier has classes has the classifier's numbers.
        own: the classifier's classes.

    Raises:
        UserError: not such an object, or one that leaves out a class.
    """
    values = read_record(path, dict[str, int], f"pass ImageNet-9's {IN9_MAP}")
    numbers = [values.get(key, IN9_CLASSES) for key in _map_keys(own, len(values))]
    wrong = [index for index, value in enumerate(numbers) if value not in range(-1, IN9_CLASSES)]
    if wrong or not numbers:
        index = wrong[0] if wrong else 0
        raise UserError(
            f"{path} does not state which of ImageNet-9's classes class {index} of {own.count} is "
            f"({own.words[index]}): pass ImageNet-9's {IN9_MAP} and a classifier whose classes are named by WordNet ids"
        )
    return torch.tensor(numbers)


def _map_keys(own: Classes, entries: int) -> list[str]:
    """Return the keys of the classes in a map of so many entries; none that fits for a class that it does not name."""
    if entries == len(WORDNET_IDS):
        numbers = {name: number for number, name in enumerate(WORDNET_IDS)}
        return [str(numbers.get(name)) for name in own.words]
    return [str(number) for number in range(own.count)] if entries <= own.count else []


def in9_map_file(folder: Path) -> Path | None:
    """Return the map of ImageNet-9 in its folder or in its parent, None if there is none."""
    return next((file for file in (folder / IN9_MAP, folder.parent / IN9_MAP) if file.exists()), None)


def find_in9_map(folder: Path, path: Path | None, own: Classes) -> Tensor:
    """Return which of the nine classes each of the classifier's belongs to, (classes,) int64, -1 for none.

    Args:
        folder: of ImageNet-9.
        path: of the map; None: ``in_to_in9.json`` in ``folder`` or its parent; a classifier of nine classes needs none,
            nor does a challenge, whose classes are some of the classifier's.
        own: the classifier's classes.

    Raises:
        UserError: no map, or one that leaves out a class.
    """
    if is_challenge(folder):
        return _challenge_map(folder, own)
    if path is None and own.count == IN9_CLASSES:
        names = next(iter(in9_variants(folder).values())).names
        nine, bare = (replace(own, names=tuple(map(_bare, part))) for part in (names, own.words))
        return match_classes(replace(nine, owner=str(folder)), bare, NO_MAP)
    if file := path or in9_map_file(folder):
        return read_in9_map(file, own)
    raise UserError(f"no {IN9_MAP} in {folder} or its parent: put the one of ImageNet-9's public code there")


def _challenge_map(folder: Path, own: Classes) -> Tensor:
    """Return the number in a challenge of each of the classifier's classes, (classes,) int64, -1 for none."""
    classes = next(iter(in9_variants(folder).values())).classes(folder)
    numbers = torch.full((own.count,), -1)
    numbers[match_classes(own, classes, OWN_CHALLENGE, some=True)] = torch.arange(classes.count)
    return numbers


def _bare(name: str) -> str:
    """Return the name of one of the nine classes without its number, as ``dog`` for ``00_dog``."""
    return re.sub(r"^\d\d_", "", name)
