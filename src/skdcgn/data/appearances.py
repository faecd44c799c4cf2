"""Appearances: how a glyph is dressed, and whether the dress gives its class away.

In a *correlated* data set, colour or texture follows the class, and a classifier learns the shortcut; in a
*decorrelated* one they are drawn independently. Everything is drawn once, from the seed, in one vectorised
pass. The recipes are those of Sauer & Geiger (2021), Sec. 4.1:

- ``colored``: a glyph in its class colour (jitter variance 0.02 per channel) on black;
- ``double-colored``: object and background in class colours (jitter deviation 0.01 per channel), where the
  object colour of class i is the background colour of class i - 6;
- ``wildlife``: object and background are random 32 x 32 crops of their class's texture picture.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.data.images import LabelledImages
from skdcgn.data.textures import load_textures

CLASSES = 10
APPEARANCES = ("colored", "double-colored", "wildlife")
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


def paint(
    glyphs: LabelledImages,
    appearance: str,
    *,
    correlated: bool,
    seed: int,
    copies: int = 1,
    textures: Path | None = None,
) -> LabelledImages:
    """Dress every glyph ``copies`` times; return (N * copies) images with the glyphs' labels.

    Args:
        glyphs: masks (N, 1, H, W) and labels (N,).
        appearance: ``colored``, ``double-colored`` or ``wildlife``.
        correlated: colour or texture follows the label (training) or is drawn uniformly (test, oracle).
        seed: the same seed gives the same bytes.
        textures: folder with ``object`` and ``background`` pictures for ``wildlife``; None: the project's own.
    """
    rng = generator(seed, "paint", appearance, int(correlated))
    masks, labels = glyphs.images.repeat(copies, 1, 1, 1), glyphs.labels.repeat(copies)
    object_labels = labels if correlated else torch.randint(CLASSES, labels.shape, generator=rng)
    background_labels = labels if correlated else torch.randint(CLASSES, labels.shape, generator=rng)
    size = masks.shape[-1]
    if appearance == "colored":
        coat = _jittered(_rgb(COLORED)[object_labels], COLORED_VARIANCE**0.5, rng)
        ground = torch.zeros(1, 3, 1, 1)
    elif appearance == "double-colored":
        palette = _rgb(DOUBLE_COLORED)
        coat = _jittered(palette[(object_labels - OBJECT_SHIFT) % CLASSES], DOUBLE_COLORED_DEVIATION, rng)
        ground = _jittered(palette[background_labels], DOUBLE_COLORED_DEVIATION, rng)
    elif appearance == "wildlife":
        coat = _crops(load_textures(textures, "object"), object_labels, size, rng)
        ground = _crops(load_textures(textures, "background"), background_labels, size, rng)
    else:
        raise UserError(f"unknown appearance {appearance!r}: use one of {', '.join(APPEARANCES)}")
    return LabelledImages(blend(Layers(masks, coat, ground)).mul_(2).sub_(1), labels, glyphs.names)


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
