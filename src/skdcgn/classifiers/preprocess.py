"""How images in [-1, 1] become the input of a classifier that was trained elsewhere.

    input = (x / 2 + 1/2 - mean) / deviation

channel by channel, with mean and deviation on the scale from 0 to 1. ``unit`` is mean 0, deviation 1; ``signed`` leaves
images as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from skdcgn.base.errors import UserError, shown
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN

Triple = tuple[float, float, float]  # of red, green and blue
HALF = (0.5, 0.5, 0.5)
DEFAULT, FLAG, FILE = "by default", "as --preprocess says", "as it states"


@dataclass(frozen=True)
class Preprocess:
    """The range of a classifier's inputs and the order of their channels.

    Args:
        mean, deviation: of red, green and blue, on the scale from 0 to 1.
        bgr: whether blue comes first.
        origin: where this comes from, in words.
    """

    mean: Triple
    deviation: Triple
    bgr: bool = False
    origin: str = DEFAULT

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [-1, 1] as the classifier's input, on their device."""
        if not (self.mean == HALF == self.deviation):
            mean, deviation = (
                torch.tensor(part, device=images.device)[:, None, None] for part in (self.mean, self.deviation)
            )
            images = (images / 2 + 0.5 - mean) / deviation
        return images.flip(1) if self.bgr else images

    def __str__(self) -> str:
        names = {(one.mean, one.deviation): name for name, one in PREPROCESSES.items()}
        words = names.get((self.mean, self.deviation))
        if words is None:
            words = f"mean {_numbers(self.mean)}, deviation {_numbers(self.deviation)}"
        return f"{words}{', BGR' if self.bgr else ''}"


PREPROCESSES = {
    "imagenet": Preprocess(IMAGENET_MEAN, IMAGENET_DEVIATION),
    "unit": Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "signed": Preprocess(HALF, HALF),
}


def parse_preprocess(words: str, *, bgr: bool = False) -> Preprocess:
    """Return the preprocess that words name.

    Args:
        words: ``imagenet``, ``unit``, ``signed``, ``mean,deviation``, or three means and three deviations, of red,
            green and blue, all on the scale from 0 to 1.
        bgr: whether the classifier takes blue first.

    Raises:
        UserError: another word, or deviations that are not above 0.
    """
    numbers = _parsed(words)
    if words in PREPROCESSES:
        mean, deviation = PREPROCESSES[words].mean, PREPROCESSES[words].deviation
    elif len(numbers) in (2, 6):
        half = len(numbers) // 2
        mean, deviation = as_triple(numbers[:half]), as_triple(numbers[half:])
    else:
        raise UserError(
            f"unknown preprocess {shown(words)}: use {', '.join(PREPROCESSES)}, or two or six numbers as mean,deviation"
        )
    if not all(map(isfinite, numbers)) or min(deviation) <= 0:
        raise UserError(f"preprocess {shown(words)}: deviations must be above 0")
    return Preprocess(mean, deviation, bgr, FLAG)


def as_triple(numbers: Sequence[float]) -> Triple:
    """Return three numbers, or one three times."""
    red, green, blue = (numbers[0],) * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def _parsed(words: str) -> list[float]:
    """Return the numbers of words such as ``0.5,0.25``; none if they are no numbers."""
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        return []


def _numbers(triple: Triple) -> str:
    return " ".join(f"{number:.3g}" for number in (triple[:1] if len(set(triple)) == 1 else triple))
