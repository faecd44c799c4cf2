"""The composition ``x = m * t + (1 - m) * b`` (Sauer & Geiger 2021, Eq. 2), written here and nowhere else, and crops.

Textures and backgrounds that tile (:class:`~skdcgn.cgn.mechanism.Spec`) are tiled and cropped at random here, never
inside a mechanism, which stays a function of (u, y). Photographs do not tile, and are composed as they are drawn.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skdcgn.cgn.mechanism import Layers, Mechanism


def blend(layers: Layers, *, out: Tensor | None = None) -> Tensor:
    """x = m * t + (1 - m) * b, (B, 3, H, W); into ``out`` in one pass, which rounds differently."""
    if out is not None:
        return torch.lerp(layers.background, layers.texture, layers.mask, out=out)
    return layers.mask * layers.texture + (1 - layers.mask) * layers.background


def tile_crop(pictures: Tensor, offsets: Tensor) -> Tensor:
    """Tile (B, 3, H, W) 2 x 2 and cut the H x W window with its corner at ``offsets`` (B, 2), row and column."""
    height, width = pictures.shape[-2:]
    rows = (offsets[:, 0, None] + torch.arange(height, device=pictures.device)) % height  # (B, H)
    columns = (offsets[:, 1, None] + torch.arange(width, device=pictures.device)) % width  # (B, W)
    places = (width * rows[:, :, None] + columns[:, None, :]).flatten(1)  # (B, H W)
    return pictures.flatten(2).gather(2, places[:, None].expand(-1, pictures.shape[1], -1)).view_as(pictures)


def crop(layers: Layers, *offsets: Tensor) -> Layers:
    """Tile texture and background and cut a window of each, at two ``offsets`` (B, 2); the mask stays.

    Without offsets, of pictures that do not tile, all layers stay.
    """
    if not offsets:
        return layers
    return Layers(layers.mask, *(tile_crop(x, o) for x, o in zip(layers[1:], offsets, strict=True)))


class Composition(nn.Module):
    """A CGN and its composer as one function, which can be compiled and exported.

    Args:
        cgn: ``(mechanism, noise (B, Z), labels (B,)) -> (B, C, H, W)``.
    """

    def __init__(self, cgn: Callable[[Mechanism, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.cgn = cgn

    def forward(self, *inputs: Tensor) -> Tensor:
        """Draw counterfactuals (B, 3, H, W) in [-1, 1] from the tensors of :class:`~skdcgn.cgn.inputs.Inputs`."""
        return blend(crop(self.layers(*inputs[:6]), *inputs[6:]))

    def layers(self, *inputs: Tensor) -> Layers:
        """Draw the layers from three noises and three labels, as the mechanisms draw them: nothing is cropped."""
        return Layers(*(self.cgn(m, u, y) for m, u, y in zip(Mechanism, inputs[:3], inputs[3:], strict=True)))
