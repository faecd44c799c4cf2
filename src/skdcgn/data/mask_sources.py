"""Sources of masks: a network of salient objects, a folder of the user's own masks, the alpha channel of cut-outs.

A network's map s becomes a mask by (s - min s) / (max s - min s), as published with U2-Net, where it shows an object:
min s < 1/2 <= max s. Elsewhere the stretch would turn noise into an object, and s stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.contents import files_digest
from skdcgn.base.errors import UserError
from skdcgn.data.decoding import open_alpha, open_mask, open_picture, picture_size
from skdcgn.data.folders import as_tensor, class_folders, find_pictures
from skdcgn.data.masks import mask_file
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN

SIZE = 160  # pixels of a mask's longer side
OBJECT = 0.5  # of a map where an object is
ROUNDING = 0.02  # of a mask's height, beside one pixel


Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Saliency:
    """A network of salient objects.

    Args:
        name: of the network or its file.
        digest: sha256 of the file of its weights.
        network: pictures (B, 3, S, S), RGB of ImageNet's mean and deviation -> maps (B, 1, S', S') in [0, 1].
        side: S, where the network takes no other; None: any.
    """

    name: str
    digest: str
    network: Network
    side: int | None = None


class Drawn(NamedTuple):
    """What a mask is drawn from: a picture, and the size of the upright photograph."""

    picture: Image.Image
    size: tuple[int, int]


@dataclass(frozen=True)
class MaskSource:
    """Makes masks.

    Args:
        name: of what they come from.
        digest: sha256 of what they come from.
        read: path of a photograph -> what its mask is drawn from, None if it has no mask; threads call it.
        draw: pictures -> masks in mode L, of any size.
    """

    name: str
    digest: str
    read: Callable[[str], Drawn | None]
    draw: Callable[[Sequence[Image.Image]], Sequence[Image.Image]] = list


def by_saliency(saliency: Saliency, size: int = SIZE) -> MaskSource:
    """Return masks by a network, which sees whole photographs resized to ``size`` x ``size``, or to its own side."""
    side = saliency.side or size
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))

    def read(photo: str) -> Drawn:
        picture = open_picture(Path(photo))
        return Drawn(picture.resize((side, side), Image.Resampling.BILINEAR), picture.size)

    def draw(pictures: Sequence[Image.Image]) -> list[Image.Image]:
        inputs = torch.stack([as_tensor(picture) for picture in pictures])
        with torch.inference_mode():
            maps = stretch(saliency.network((inputs / 255 - mean) / deviation))
        return [Image.fromarray(levels.numpy()) for levels in (255 * maps[:, 0]).round().byte()]

    return MaskSource(saliency.name, saliency.digest, read, draw)


def stretch(maps: Tensor) -> Tensor:
    """Stretch maps (B, 1, H, W) that show an object to all of [0, 1]; return the others as they are."""
    least, most = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    shows = (least < OBJECT) & (most >= OBJECT)
    return torch.where(shows, (maps - least) / (most - least), maps)


def from_masks(masks: Path) -> MaskSource:
    """Return the user's own masks, ``masks/<class>/<name of the photograph>.png``: grey levels, or an alpha channel.

    Raises:
        UserError: no folder of classes; when a mask is read, one of another aspect ratio than its photograph, or one
            whose levels are 0 and 1.
    """
    files = [file for name in class_folders(masks) for file in find_pictures(masks / name)]

    def read(photo: str) -> Drawn | None:
        file = mask_file(masks, photo)
        if not file.exists():
            return None
        levels, size = open_mask(file), picture_size(Path(photo))
        if abs(levels.width * size[1] / size[0] - levels.height) > 1 + ROUNDING * levels.height:
            raise UserError(f"{file} has {levels.size} pixels, {photo} has {size}: resize it to the same aspect ratio")
        if levels.getextrema()[1] == 1:
            raise UserError(f"{file} has levels 0 and 1 of 255: multiply them by 255")
        return Drawn(levels, size)

    return MaskSource("masks", files_digest(masks, files), read)


def from_alpha() -> MaskSource:
    """Return the alpha channels of the photographs; when one is read that has none, it raises UserError."""

    def read(photo: str) -> Drawn:
        alpha = open_alpha(Path(photo))
        if alpha is None:
            raise UserError(f"{photo} has no alpha channel: cut its object out, or segment without --alpha")
        return Drawn(alpha, alpha.size)

    return MaskSource("alpha", "", read)
