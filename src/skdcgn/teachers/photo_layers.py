"""The layers of photographs: object and surroundings, each spread over a whole picture.

Pictures are (B, 3, S, S) in [-1, 1], masks (B, 1, S, S) in [0, 1].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.photo_layers import BackgroundFill, TextureFill
from skdcgn.cgn.mechanism import Layers
from skdcgn.data.inpaint import push_pull
from skdcgn.training.losses import patch_mosaic

MARGIN = 1 / 32  # of the side, around an object, that belongs neither to it nor to its background
EDGE = 0.05  # weight of an object's edge, which is all that there is of a thin one
GRID = 6  # patches of a side of a mosaic

Fill = Callable[[Tensor, Tensor], Tensor]


def photo_layers(
    pictures: Tensor,
    masks: Tensor,
    texture: TextureFill,
    background: BackgroundFill,
    rng: torch.Generator | None = None,
) -> Layers:
    """Take photographs apart; mosaics take random numbers from ``rng``, or from PyTorch's global generator."""
    sharp = sharpened(masks)
    surface = mosaic(pictures, sharp, rng) if texture is TextureFill.MOSAIC else spread_object(pictures, sharp)
    return Layers(sharp, surface, BACKGROUNDS[background](pictures, masks))


def sharpened(masks: Tensor) -> Tensor:
    """Stretch the values from 1/4 to 3/4 to [0, 1], so that an object is not half transparent."""
    return (2 * masks - 0.5).clamp(0, 1)


def mosaic(pictures: Tensor, masks: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Lay 6 x 6 patches side by side, each from one of the S places where the mask is largest (CGN, App. C)."""
    size = pictures.shape[-1]
    return patch_mosaic(pictures, masks, -(-size // GRID), grid=GRID, best=size, rng=rng)[..., :size, :size]


def spread_object(pictures: Tensor, masks: Tensor) -> Tensor:
    """Keep the pixels inside the mask, but for its edge; the rest takes the object's colours nearby."""
    return push_pull(pictures, torch.lerp(_eroded(masks, 1), masks, EDGE))


def spread_surroundings(pictures: Tensor, masks: Tensor) -> Tensor:
    """Keep the pixels outside the mask and a margin around it; the rest takes the colours of the surroundings."""
    radius = max(1, round(MARGIN * masks.shape[-1]))
    return push_pull(pictures, (1 - 4 * _dilated(masks, radius)).clamp(min=0))


def _dilated(masks: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(masks, 2 * radius + 1, stride=1, padding=radius)


def _eroded(masks: Tensor, radius: int) -> Tensor:
    return -F.max_pool2d(-masks, 2 * radius + 1, stride=1, padding=radius)


def _as_it_is(pictures: Tensor, masks: Tensor) -> Tensor:
    return pictures


BACKGROUNDS: dict[BackgroundFill, Fill] = {
    BackgroundFill.INPAINT: spread_surroundings,
    BackgroundFill.PHOTOGRAPH: _as_it_is,
}
