"""An appearance: a function from labels to object and background, with a name in a table. Here: levels of grey."""

from pathlib import Path

import torch
from torch import Tensor

from skdcgn.data.appearances import APPEARANCES, Labels, paint
from skdcgn.data.glyphs import load_glyphs


def grey(labels: Labels, size: int, textures: Path | None, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The object's level of grey is its class; the background is black. Both in [0, 1]."""
    level = (0.1 + 0.1 * labels.objects)[:, None, None, None].expand(-1, 3, 1, 1)
    return level, torch.zeros(1, 3, 1, 1)


APPEARANCES["grey"] = grey
train = paint(load_glyphs("digits", "train"), "grey", correlated=True, seed=0)
test = paint(load_glyphs("digits", "test"), "grey", correlated=False, seed=0)
for name, data in (("train", train), ("test", test)):
    brightest = data.images.amax((1, 2, 3))
    print(name, [round(float(brightest[data.labels == label].mean()), 1) for label in range(10)])
