"""The layers of photographs: object and surroundings, each spread over a whole picture.

Pictures are (B, 3, S, S) in [-1, 1], masks (B, 1, S, S) in [0, 1].
"""

import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.photo_layers import BackgroundFill, TextureFill
from skdcgn.cgn.mechanism import Layers
from skdcgn.data.inpaint import push_pull

MARGIN = 1 / 32  # of the side, around an object, that belongs neither to it nor to its background


def photo_layers(pictures: Tensor, masks: Tensor, texture: TextureFill, background: BackgroundFill) -> Layers:
    """Take photographs apart."""
    return Layers(masks, TEXTURES[texture](pictures, masks), BACKGROUNDS[background](pictures, masks))


def spread_object(pictures: Tensor, masks: Tensor) -> Tensor:
    """Keep the pixels where the mask is near 1; the rest takes the object's colours nearby."""
    return push_pull(pictures, (2 * _eroded(masks, 1) - 1).clamp(min=0))


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


TEXTURES = {TextureFill.INPAINT: spread_object}
BACKGROUNDS = {BackgroundFill.INPAINT: spread_surroundings, BackgroundFill.PHOTOGRAPH: _as_it_is}
