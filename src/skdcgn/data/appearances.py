"""Appearances: colours or textures of glyphs, which follow the class or do not.

In a *correlated* data set, colour or texture follows the class, and a classifier learns that shortcut; in a
*decorrelated* one they are independent of it. All images are painted at once, from one seed. The recipes are those of
Sauer & Geiger (2021), Sec. 4.1; a further one is a function with a name in ``APPEARANCES``.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.data.images import LabelledImages
from skdcgn.data.textures import load_textures

CLASSES = 10
COLORED_VARIANCE = 0.02
DOUBLE_COLORED_DEVIATION = 0.01
CROP_PADDING = 3

# Ten well separated hues for the colored digits, 0-255.
# fmt: off
COLORED = (
    (220,  20,  60), (  0, 128, 128), (253, 233,  16), (  0, 149, 182), (237, 145,  33),
    (145,  30, 188), ( 70, 240, 240), (250, 197, 187), (210, 245,  60), (128,   0,   0),
)
# darkgreen, darkblue, #b03060, orangered, yellow, burlywood, lime, aqua, fuchsia, cornflowerblue
DOUBLE_COLORED = (
    (  0, 100,   0), (  0,   0, 139), (176,  48,  96), (255,  69,   0), (255, 255,   0),
    (222, 184, 135), (  0, 255,   0), (  0, 255, 255), (255,   0, 255), (100, 149, 237),
)
# fmt: on
OBJECT_SHIFT = 6


class Labels(NamedTuple):
    """The classes (N,) int64 whose colour or texture objects and backgrounds get."""

    objects: Tensor
    backgrounds: Tensor


# Labels, pixels of a side, folder of textures, generator -> object and background in [0, 1], each (N, 3, H, W) or
# broadcast to it.
Appearance = Callable[[Labels, int, Path | None, torch.Generator], tuple[Tensor, Tensor]]


def colored(labels: Labels, size: int, textures: Path | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The object in its class colour, jittered with variance 0.02 per channel; a black background."""
    return _jittered(_rgb(COLORED)[labels.objects], COLORED_VARIANCE**0.5, rng), torch.zeros(1, 3, 1, 1)


def double_colored(labels: Labels, size: int, textures: Path | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Object and background in class colours, jittered with deviation 0.01 per channel.

    The object colour of class i is the background colour of class i - 6.
    """
    palette = _rgb(DOUBLE_COLORED)
    coat = _jittered(palette[(labels.objects - OBJECT_SHIFT) % CLASSES], DOUBLE_COLORED_DEVIATION, rng)
    return coat, _jittered(palette[labels.backgrounds], DOUBLE_COLORED_DEVIATION, rng)


def wildlife(labels: Labels, size: int, textures: Path | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Object and background as random crops of their class's texture picture."""
    coat = _crops(load_textures(textures, "object"), labels.objects, size, rng)
    return coat, _crops(load_textures(textures, "background"), labels.backgrounds, size, rng)


APPEARANCES: dict[str, Appearance] = {"colored": colored, "double-colored": double_colored, "wildlife": wildlife}


def paint(
    glyphs: LabelledImages,
    appearance: str,
    *,
    correlated: bool,
    seed: int,
    copies: int = 1,
    textures: Path | None = None,
) -> LabelledImages:
    """Paint every glyph ``copies`` times; return (N * copies) images in [-1, 1] with the glyphs' labels.

    Args:
        glyphs: masks (N, 1, H, W) and labels (N,).
        appearance: a name in ``APPEARANCES``.
        correlated: colours and textures are those of the label (training), or of uniform random classes (test, oracle).
        seed: the same seed gives the same bytes.
        textures: folder with ``object`` and ``background`` pictures for ``wildlife``; None: the project's own.

    Raises:
        UserError: no such appearance, or a folder of textures that cannot be read.
    """
    if appearance not in APPEARANCES:
        raise UserError(f"unknown appearance {appearance!r}: use one of {', '.join(APPEARANCES)}")
    rng = generator(seed, "paint", appearance, int(correlated))
    masks, labels = glyphs.images.repeat(copies, 1, 1, 1), glyphs.labels.repeat(copies)
    of_objects, of_backgrounds = (
        labels if correlated else torch.randint(CLASSES, labels.shape, generator=rng) for _ in range(2)
    )
    coat, ground = APPEARANCES[appearance](Labels(of_objects, of_backgrounds), masks.shape[-1], textures, rng)
    return replace(glyphs, images=blend(Layers(masks, coat, ground)).mul_(2).sub_(1), labels=labels)


def _rgb(colours: tuple[tuple[int, int, int], ...]) -> Tensor:
    return torch.tensor(colours, dtype=torch.float32) / 255  # (10, 3) in [0, 1]


def _jittered(colours: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    noise = torch.randn(colours.shape, generator=rng)
    return (colours + deviation * noise).clamp(0, 1)[..., None, None]  # (N, 3, 1, 1)


def _crops(pictures: Tensor, labels: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Cut one random ``size`` x ``size`` window from each label's picture, reflected by 3 pixels at its edges."""
    padded = F.pad(pictures, (CROP_PADDING,) * 4, mode="reflect")
    span = padded.shape[-1] - size + 1
    top, left = torch.randint(span, (2, len(labels), 1, 1), generator=rng)
    rows, columns = top + torch.arange(size)[:, None], left + torch.arange(size)
    return padded[labels[:, None, None], :, rows, columns].permute(0, 3, 1, 2)  # (N, 3, size, size)
