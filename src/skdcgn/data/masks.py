"""Masks of photographs: ``MASKS/<class>/<name of the photograph>.png``, white where the object is.

A mask has the aspect ratio of its photograph and any size. Not every mask shows one whole object: the state of a mask
says whether a photograph can be taken apart by it.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from skdcgn.base.contents import Reads, folder_reads
from skdcgn.base.door import is_file
from skdcgn.base.errors import UserError
from skdcgn.data.decoding import open_mask
from skdcgn.data.folders import READERS, list_photos, read_picture
from skdcgn.data.images import LabelledImages, PhotoFiles

logger = logging.getLogger(__name__)
LEAST, MOST = 0.03, 0.75  # of the picture's area
LEAST_LEVEL = 0.65  # mean level of an object's pixels; a mask of zeros and ones has 1
MOST_OF_FRAME = 0.4  # of the pixels along the four sides
READ_AT = 64  # pixels of a side at which masks are judged


class MaskState(StrEnum):
    """Whether a mask can take its photograph apart.

    ``empty``: no object, or one of few pixels. ``full``: too little background. ``faint``: an object of which the
    network is not sure, often a part of one. ``border``: the object goes on outside the picture, or is its background.
    """

    USABLE = "usable"
    EMPTY = "empty"
    FULL = "full"
    FAINT = "faint"
    BORDER = "border"


@dataclass(frozen=True)
class MaskedPhotos:
    """Photographs (N) and the files (N) of their masks."""

    photos: PhotoFiles
    masks: list[str]

    def __len__(self) -> int:
        return len(self.masks)

    def rows(self, rows: Sequence[int]) -> "MaskedPhotos":
        """Return some of the photographs with their masks."""
        files, labels = [self.photos.files[row] for row in rows], self.photos.labels[list(rows)]
        return MaskedPhotos(PhotoFiles(files, labels, self.photos.names), [self.masks[row] for row in rows])


def mask_state(mask: Tensor) -> MaskState:
    """Return the state of a mask m (1, H, W) uint8, by area and frame of the object m > 1/2, and sum(m^2) / sum(m)."""
    levels, inside = mask[0] / 255, (mask[0] > 127).float()
    area, frame = inside.mean(), torch.cat([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]]).mean()
    if area < LEAST:
        return MaskState.EMPTY
    if area > MOST:
        return MaskState.FULL
    if levels.square().mean() < LEAST_LEVEL * levels.mean():
        return MaskState.FAINT
    return MaskState.BORDER if frame > MOST_OF_FRAME else MaskState.USABLE


def read_mask(path: Path, size: int) -> Tensor:
    """Return a mask (1, size, size) uint8, cut to the centred square and resized as its photograph is."""
    picture = ImageOps.fit(open_mask(path), (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture))[None]


def mask_file(masks: Path, photo: str) -> Path:
    """Return the path at which ``masks`` keeps the mask of a photograph of a folder of classes."""
    path = Path(photo)
    return masks / path.parent.name / f"{path.stem}.png"


def list_masked(photos: PhotoFiles, masks: Path) -> MaskedPhotos:
    """Return the photographs that have a mask in ``masks``.

    Raises:
        UserError: none has.
    """
    masked = masked_photos(photos, masks)
    if not masked:
        file = mask_file(masks, photos.files[0])
        raise UserError(f"{masks} has no mask of a photograph, as {file}: write them by skdcgn segment")
    return masked


def masked_photos(photos: PhotoFiles, masks: Path) -> MaskedPhotos:
    """Return the photographs that have a mask in ``masks``, which may be none."""
    files = [mask_file(masks, photo) for photo in photos.files]
    rows = [row for row, file in enumerate(files) if is_file(file)]
    return MaskedPhotos(photos, [str(file) for file in files]).rows(rows)


def usable_photos(masked: MaskedPhotos) -> tuple[MaskedPhotos, dict[MaskState, int]]:
    """Return the photographs whose mask is usable, and the number of masks in each state."""
    states = mask_states(masked)
    usable = masked.rows([row for row, state in enumerate(states) if state is MaskState.USABLE])
    return usable, {state: states.count(state) for state in MaskState}


def mask_states(masked: MaskedPhotos) -> list[MaskState]:
    """Return the state of each mask (N)."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda file: mask_state(read_mask(Path(file), READ_AT)), masked.masks))


def mask_reads(masks: Path, masked: MaskedPhotos) -> Reads:
    """Return the contents of masks that a run reads (:mod:`skdcgn.base.contents`)."""
    return folder_reads("masks", masks, masked.masks)


def list_usable(folder: Path, masks: Path) -> MaskedPhotos:
    """Return the photographs of a folder of classes whose mask is usable; log how many are left out, and why.

    Raises:
        UserError: as :func:`skdcgn.data.folders.list_photos` and :func:`list_masked`, or a class has no usable mask.
    """
    photos = list_photos(folder)
    masked = list_masked(photos, masks)
    usable, states = usable_photos(masked)
    reasons = {"without a mask": len(photos) - len(masked)} | {state: states[state] for state in MaskState}
    words = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if reason != MaskState.USABLE)
    logger.info(f"{len(usable):,} of {len(photos):,} photographs have a usable mask; left out: {words}")
    missing = set(range(len(photos.names))) - set(usable.photos.labels.tolist())
    if missing:
        raise UserError(
            f"{masks} has no usable mask of the class {photos.names[min(missing)]!r} ({len(missing)} classes have "
            f"none): add masks that cover {LEAST:.0%} to {MOST:.0%} of their photographs, or remove the class"
        )
    return usable


def load_masked(masked: MaskedPhotos, size: int) -> tuple[LabelledImages, Tensor]:
    """Read photographs (N, 3, size, size) and their masks (N, 1, size, size), both uint8."""
    images = torch.empty(len(masked), 3, size, size, dtype=torch.uint8)
    masks = torch.empty(len(masked), 1, size, size, dtype=torch.uint8)
    for row, (photo, mask) in enumerate(zip(masked.photos.files, masked.masks, strict=True)):
        images[row], masks[row] = read_picture(Path(photo), size), read_mask(Path(mask), size)
    return LabelledImages(images, masked.photos.labels, masked.photos.names), masks
