"""The contact sheet of a folder of masks: photograph, mask and cut-out, for a look before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.cgn.pictures import grid, save_picture
from skdcgn.data.folders import read_picture
from skdcgn.data.masks import MaskedPhotos, MaskState, read_mask

CONTACT = "contact.png"
CLASSES, PER_CLASS, SIDE, FRAME = 12, 4, 96, 4  # rows; photographs in a row; pixels of a picture and of a frame
RED = torch.tensor([220, 30, 30], dtype=torch.uint8)[:, None, None]


def write_contact_sheet(path: Path, masked: MaskedPhotos, states: Sequence[MaskState]) -> None:
    """Write photograph, photograph under its mask and cut-out on white of some photographs of each class, a row each.

    Masks that are not usable have a red frame.
    """
    rows = _sample(masked.photos.labels)
    if rows:
        cells = [cell for row in rows for cell in _cells(masked, row, states[row])]
        save_picture(path, grid(torch.stack(cells), 3 * PER_CLASS))


def _sample(labels: Tensor) -> list[int]:
    """Return the same number of rows, drawn by a seed, of classes that are spread over all."""
    present = labels.unique()
    classes = (
        present[torch.linspace(0, len(present) - 1, min(CLASSES, len(present))).round().long()] if len(present) else []
    )
    rows = []
    for label in classes:
        own = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(own), generator=generator(0, "contact", int(label)))
        rows += own[order.repeat(PER_CLASS)[:PER_CLASS]].tolist()
    return rows


def _cells(masked: MaskedPhotos, row: int, state: MaskState) -> list[Tensor]:
    """Return photograph, the same with its background in dark blue, and cut-out: (3, SIDE, SIDE) uint8 each."""
    photo = read_picture(Path(masked.photos.files[row]), SIDE).float()
    mask = read_mask(Path(masked.masks[row]), SIDE) / 255
    night = torch.tensor([20.0, 30.0, 90.0])[:, None, None]
    overlay, cut = (
        blend(Layers(mask, photo, 0.3 * photo + 0.7 * night)),
        blend(Layers(mask, photo, torch.full_like(photo, 255))),
    )
    cells = [picture.round().byte() for picture in (photo, overlay, cut)]
    if state is not MaskState.USABLE:
        cells[1] = _framed(cells[1])
    return cells


def _framed(picture: Tensor) -> Tensor:
    framed = RED.expand_as(picture).clone()
    framed[:, FRAME:-FRAME, FRAME:-FRAME] = picture[:, FRAME:-FRAME, FRAME:-FRAME]
    return framed
