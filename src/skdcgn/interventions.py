"""Interventions: what is done to the layers of a CGN before they are composed.

A *policy* is a sequence of words ``mechanism.name:amount``, applied in their order, for instance
``("shape.elastic:1.5", "shape.sharpen:4", "texture.jitter:0.1")``. Each intervention is a function of the layers, the
amount and a seeded generator: masks (B, 1, H, W) stay in [0, 1], pictures (B, 3, H, W) in [-1, 1].
"""

import difflib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.errors import UserError
from skdcgn.mechanism import Layers, Mechanism, as_mechanism

Change = Callable[[Tensor, float, torch.Generator], Tensor]

ELASTIC_NODES = 5  # displacements are drawn on a grid of so many nodes a side and are smooth between them
MASK_MARGIN = 1e-4


def sharpen(mask: Tensor, power: float, rng: torch.Generator) -> Tensor:
    """m^p / (m^p + (1 - m)^p): nearer to binary for p > 1, softer for p < 1."""
    return (power * mask.clamp(MASK_MARGIN, 1 - MASK_MARGIN).logit()).sigmoid()


def stroke(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Widen or thin strokes by up to ``pixels`` on each side, an amount per image (3 x 3 dilation and erosion)."""
    amount = pixels * _uniform((len(mask), 1, 1, 1), rng)
    for step in range(math.ceil(pixels)):
        share = (amount.abs() - step).clamp(0, 1)
        mask = torch.lerp(mask, torch.where(amount > 0, dilate(mask), erode(mask)), share)
    return mask


def dilate(mask: Tensor) -> Tensor:
    """Greatest value among the 3 x 3 neighbours."""
    return F.max_pool2d(mask, 3, stride=1, padding=1)


def erode(mask: Tensor) -> Tensor:
    """Smallest value among the 3 x 3 neighbours."""
    return -F.max_pool2d(-mask, 3, stride=1, padding=1)


def affine(mask: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Map places p to (I + A) p + b, A and b uniform in [-amount, amount] per image, in half widths; 0 from outside."""
    places = torch.eye(2, 3) + amount * _uniform((len(mask), 2, 3), rng)
    return _sample(mask, F.affine_grid(places, list(mask.shape), align_corners=False))


def elastic(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Displace places by a smooth random field, of deviation ``pixels`` at its nodes (Simard et al. 2003, Sec. 2)."""
    height, width = mask.shape[-2:]
    nodes = torch.randn(len(mask), 2, ELASTIC_NODES, ELASTIC_NODES, generator=rng)
    field = F.interpolate(nodes, size=(height, width), mode="bicubic", align_corners=True)
    field = pixels * field * torch.tensor([2 / width, 2 / height])[:, None, None]
    still = F.affine_grid(torch.eye(2, 3).expand(len(mask), 2, 3), list(mask.shape), align_corners=False)
    return _sample(mask, still + field.permute(0, 2, 3, 1))


def _sample(images: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(images, places.to(images.dtype), align_corners=False)


def jitter(picture: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Scale each channel by 1 + U(-amount, amount) and move it by U(-amount, amount), per image."""
    scale, offset = amount * _uniform((2, len(picture), picture.shape[1], 1, 1), rng)
    return ((1 + scale) * picture + offset).clamp(-1, 1)


def recolour(picture: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Permute and invert the channels of a ``share`` of the pictures at random: other colours, the same pattern."""
    count, channels = picture.shape[:2]
    order = torch.rand(count, channels, generator=rng).argsort(1)[..., None, None].expand_as(picture)
    sign = torch.randint(2, (count, channels, 1, 1), generator=rng) * 2.0 - 1
    chosen = torch.rand(count, 1, 1, 1, generator=rng) < share
    return torch.where(chosen, sign * picture.gather(1, order), picture)


def turn(picture: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Mirror, flip and transpose a ``share`` of the pictures, each half the time (eight symmetries of a square)."""
    chosen = torch.rand(len(picture), 1, 1, 1, generator=rng) < share
    for change in (lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.mT):
        picture = torch.where(chosen & (torch.rand(chosen.shape, generator=rng) < 0.5), change(picture), picture)
    return picture


def noise(images: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Add N(0, deviation^2) to each value, and stay in range."""
    low = 0.0 if images.shape[1] == 1 else -1.0
    return (images + deviation * torch.randn(images.shape, generator=rng)).clamp(low, 1)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return 2 * torch.rand(*shape, generator=rng) - 1  # in [-1, 1]


MASKS: dict[str, Change] = {"sharpen": sharpen, "stroke": stroke, "affine": affine, "elastic": elastic, "noise": noise}
PICTURES: dict[str, Change] = {"jitter": jitter, "recolour": recolour, "turn": turn, "noise": noise}


class Intervention(NamedTuple):
    """One word of a policy."""

    mechanism: Mechanism
    name: str
    amount: float

    def __call__(self, layers: Layers, rng: torch.Generator) -> Layers:
        """Change one layer of (B, C, H, W); the others are passed on."""
        change = _known(self.mechanism)[self.name]
        return Layers(
            *(
                change(layer, self.amount, rng) if mechanism is self.mechanism else layer
                for mechanism, layer in zip(Mechanism, layers, strict=True)
            )
        )


def _known(mechanism: Mechanism) -> dict[str, Change]:
    return MASKS if mechanism is Mechanism.SHAPE else PICTURES


def parse_policy(words: Sequence[str]) -> list[Intervention]:
    """Read ``mechanism.name:amount`` words; raise UserError that names the first wrong one and the nearest known."""
    return [_parse(word) for word in words]


def _parse(word: str) -> Intervention:
    place, colon, amount = word.partition(":")
    mechanism, _, name = place.partition(".")
    known = _known(as_mechanism(mechanism))
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {mechanism}.{close[0]}?" if close else f"use one of {', '.join(known)}"
        raise UserError(f"unknown intervention {place!r}: {hint}")
    try:
        return Intervention(Mechanism(mechanism), name, float(amount))
    except ValueError:
        given = f"amount {amount!r} is no number" if colon else "the amount is missing"
        raise UserError(f"intervention {word!r}: {given}: write for instance {place}:0.5") from None
