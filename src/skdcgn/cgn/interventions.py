"""Interventions: changes of the labels and noise of a CGN before it draws, and of its layers before they are composed.

Masks m (B, 1, H, W) stay in [0, 1] and are 0 outside; pictures (B, 3, H, W) stay in [-1, 1] and, if they tile, repeat
outside; labels (B,) int64 stay below the number of classes. Each intervention is a function of these, an amount and a
seeded generator. Its decorator registers it (:mod:`skdcgn.cgn.catalogue`): mechanisms, name, and type, example and
limits of the amount. A policy names it ``shape.elastic:1.5`` (:mod:`skdcgn.cgn.policy`).

Gradients flow to layers through all but constants (through :func:`binarise` straight), so that a CGN can be trained
under a distortion (:mod:`skdcgn.teachers.teach_method`). Random numbers are drawn on the CPU, wherever the layers are.

Noise, rotation and opacity of the shape are SKDCGN's (Ambekar et al. 2022); :func:`correlate` restores a share of the
shortcut that independent labels remove.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.amounts import AnyColour, ClassLabel, Colour, Number, WholeNumber
from skdcgn.cgn.catalogue import Catalogue
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.mechanism import Layers, Mechanism

INTERVENTIONS = Catalogue()
SHAPE, PICTURES, EVERY = (Mechanism.SHAPE,), (Mechanism.TEXTURE, Mechanism.BACKGROUND), tuple(Mechanism)
MOST_PIXELS = 64

ELASTIC_NODES = 5  # a side of the grid of random displacements, which are interpolated between them
MASK_MARGIN = 1e-4
LEAST_DEVIATION = 1e-2  # pixels: a narrower Gaussian is zero, in floating point, on all pixels but its own

# Masks


@INTERVENTIONS.on_layer(SHAPE, "sharpen", Number(4))
def sharpen(mask: Tensor, power: float, rng: torch.Generator) -> Tensor:
    """m^p / (m^p + (1 - m)^p): nearer to binary for p > 1, softer for p < 1."""
    return (power * _log_odds(mask)).sigmoid()


@INTERVENTIONS.on_layer(SHAPE, "level", Number(0.4, high=0.49))
def level(mask: Tensor, reach: float, rng: torch.Generator) -> Tensor:
    """Divide the odds of m by those of t, a level per image, uniform in [0.5 - reach, 0.5 + reach]: t becomes a half.

    Grey values, as of a mean of several masks, come out as one of these masks: sharpened, thick or thin strokes.
    """
    t = (0.5 + reach * _uniform((len(mask), 1, 1, 1), rng)).to(mask)
    return (_log_odds(mask) - t.logit()).sigmoid()


def _log_odds(mask: Tensor) -> Tensor:
    return mask.clamp(MASK_MARGIN, 1 - MASK_MARGIN).logit()


@INTERVENTIONS.on_layer(SHAPE, "binarise", Number(0.5, high=1))
def binarise(mask: Tensor, threshold: float, rng: torch.Generator) -> Tensor:
    """1 where m > threshold, else 0; the gradient is the identity's (straight-through, Bengio et al. 2013)."""
    return (mask > threshold).to(mask.dtype) + (mask - mask.detach())


@INTERVENTIONS.on_layer(SHAPE, "opacity", Number(0.75, high=1))
def opacity(mask: Tensor, factor: float, rng: torch.Generator) -> Tensor:
    """factor * m: the background shows through the object."""
    return factor * mask


@INTERVENTIONS.on_layer(SHAPE, "constant", Number(0.5, high=1))
def solid(mask: Tensor, level: float, rng: torch.Generator) -> Tensor:
    """The same level everywhere."""
    return torch.full_like(mask, level)


@INTERVENTIONS.on_layer(SHAPE, "dilate", Number(1, high=MOST_PIXELS))
def dilate(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Take the greatest value among the 3 x 3 neighbours, once for each pixel; a fraction of a pixel counts in part."""
    return _by_pixels(mask, _greatest, torch.tensor(pixels))


@INTERVENTIONS.on_layer(SHAPE, "erode", Number(1, high=MOST_PIXELS))
def erode(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Take the smallest value among the 3 x 3 neighbours, once for each pixel; a fraction of a pixel counts in part."""
    return _by_pixels(mask, _smallest, torch.tensor(pixels))


@INTERVENTIONS.on_layer(SHAPE, "stroke", Number(1.5, high=MOST_PIXELS))
def stroke(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Dilate or erode by up to ``pixels`` on each side, an amount per image, uniform in [-pixels, pixels]."""
    amount = (pixels * _uniform((len(mask), 1, 1, 1), rng)).to(mask)
    return _by_pixels(mask, lambda m: torch.where(amount > 0, _greatest(m), _smallest(m)), amount.abs())


def _by_pixels(mask: Tensor, step: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    for done in range(math.ceil(float(pixels.max()))):
        mask = torch.lerp(mask, step(mask), (pixels - done).clamp(0, 1).to(mask))
    return mask


def _greatest(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask, 3, stride=1, padding=1)


def _smallest(mask: Tensor) -> Tensor:
    return -_greatest(-mask)


@INTERVENTIONS.on_layer(SHAPE, "rotate", Number(90, low=-360, high=360))
def rotate(mask: Tensor, degrees: float, rng: torch.Generator) -> Tensor:
    """Turn every mask about its centre, anticlockwise."""
    return _rotated(mask, torch.full((len(mask),), degrees))


@INTERVENTIONS.on_layer(SHAPE, "spin", Number(180, high=180))
def spin(mask: Tensor, degrees: float, rng: torch.Generator) -> Tensor:
    """Turn each mask about its centre by its own angle, uniform in [-degrees, degrees]."""
    return _rotated(mask, degrees * _uniform((len(mask),), rng))


def _rotated(mask: Tensor, degrees: Tensor) -> Tensor:
    cosine, sine, zero = degrees.deg2rad().cos(), degrees.deg2rad().sin(), torch.zeros_like(degrees)
    return _mapped(mask, torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3))


@INTERVENTIONS.on_layer(SHAPE, "affine", Number(0.2, high=1))
def affine(mask: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Map places p to (I + A) p + b, A and b uniform in [-amount, amount] per image, in half widths."""
    return _mapped(mask, torch.eye(2, 3) + amount * _uniform((len(mask), 2, 3), rng))


@INTERVENTIONS.on_layer(SHAPE, "shift", WholeNumber(3, high=MOST_PIXELS))
def shift(mask: Tensor, pixels: int, rng: torch.Generator) -> Tensor:
    """Move each mask by its own whole numbers of pixels, uniform in -pixels ... pixels, down and across."""
    height, width = mask.shape[-2:]
    top, side = torch.randint(2 * pixels + 1, (2, len(mask), 1, 1), generator=rng)
    rows, columns = top + torch.arange(height)[:, None], side + torch.arange(width)  # (B, H, 1), (B, 1, W)
    batch = torch.arange(len(mask))[:, None, None]
    return F.pad(mask, [pixels] * 4)[batch.to(mask.device), 0, rows.to(mask.device), columns.to(mask.device)][:, None]


@INTERVENTIONS.on_layer(SHAPE, "elastic", Number(1.5, high=MOST_PIXELS))
def elastic(mask: Tensor, pixels: float, rng: torch.Generator) -> Tensor:
    """Displace places by a smooth random field, of deviation ``pixels`` at its nodes (Simard et al. 2003, Sec. 2)."""
    height, width = mask.shape[-2:]
    nodes = torch.randn(len(mask), 2, ELASTIC_NODES, ELASTIC_NODES, generator=rng)
    field = F.interpolate(nodes, size=(height, width), mode="bicubic", align_corners=True)
    field = pixels * field * torch.tensor([2 / width, 2 / height])[:, None, None]
    still = F.affine_grid(torch.eye(2, 3).expand(len(mask), 2, 3), list(mask.shape), align_corners=False)
    return _sampled(mask, still + field.permute(0, 2, 3, 1))


def _mapped(mask: Tensor, places: Tensor) -> Tensor:
    return _sampled(mask, F.affine_grid(places, list(mask.shape), align_corners=False))


def _sampled(mask: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(mask, places.to(mask), align_corners=False)


# Pictures


@INTERVENTIONS.on_layer(PICTURES, "jitter", Number(0.3))
def jitter(picture: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Scale each channel by 1 + U(-amount, amount) and move it by U(-amount, amount), per image."""
    scale, offset = (amount * _uniform((2, len(picture), picture.shape[1], 1, 1), rng)).to(picture)
    return ((1 + scale) * picture + offset).clamp(-1, 1)


@INTERVENTIONS.on_layer(PICTURES, "grey", Number(1, high=1))
def grey(picture: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Move each channel towards the mean of the three: to the mean for 1, half of the way for 0.5."""
    return torch.lerp(picture, picture.mean(1, keepdim=True).expand_as(picture), strength)


@INTERVENTIONS.on_layer(PICTURES, "constant", AnyColour(Colour(128, 192, 255)))
def plain(picture: Tensor, colour: Colour, rng: torch.Generator) -> Tensor:
    """One colour everywhere."""
    channels = torch.tensor(colour) / 127.5 - 1  # (3,) in [-1, 1]
    return channels.to(picture)[:, None, None].expand_as(picture)


@INTERVENTIONS.on_layer(PICTURES, "recolour", Number(0.5, high=1))
def recolour(picture: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Permute and invert the channels of a ``share`` of the pictures at random: other colours, the same pattern."""
    count, channels = picture.shape[:2]
    order = torch.rand(count, channels, generator=rng).argsort(1)[..., None, None].expand_as(picture)
    sign = torch.randint(2, (count, channels, 1, 1), generator=rng) * 2.0 - 1
    changed = sign.to(picture) * picture.gather(1, order.to(picture.device))
    return torch.where(_selected(picture, share, rng), changed, picture)


@INTERVENTIONS.on_layer(PICTURES, "turn", Number(0.5, high=1))
def turn(picture: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Mirror, flip and transpose a ``share`` of the pictures, each half the time (eight symmetries of a square)."""
    selected = _selected(picture, share, rng)
    for change in (lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.mT):
        picture = torch.where(selected & _selected(picture, 0.5, rng), change(picture), picture)
    return picture


@INTERVENTIONS.on_layers(PICTURES, "swap", Number(0.5, high=1))
def swap(layers: Layers, share: float, rng: torch.Generator) -> Layers:
    """Lay the background's picture on the object and the texture behind it, in a ``share`` of the images.

    Labels stay with the mechanism: the texture label is that of the picture behind the object.
    """
    mask, texture, background = layers
    selected = _selected(texture, share, rng)
    return Layers(mask, torch.where(selected, background, texture), torch.where(selected, texture, background))


# Masks and pictures


@INTERVENTIONS.on_layer(EVERY, "noise", Number(0.2))
def noise(images: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Add N(0, deviation^2) to each value, and stay in range."""
    return (images + deviation * torch.randn(images.shape, generator=rng).to(images)).clamp(_low(images), 1)


def _blur_untiled(images: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Convolve; near the edges of a picture, the part of the Gaussian that lies inside is scaled to a sum of 1."""
    blurred = _convolved(images, deviation, tiled=False)
    inside = _convolved(torch.ones_like(images[:1]), deviation, tiled=False)
    return blurred if images.shape[1] == 1 else (blurred / inside).clamp(-1, 1)


@INTERVENTIONS.on_layer(EVERY, "blur", Number(1, high=MOST_PIXELS), untiled=_blur_untiled)
def blur(images: Tensor, deviation: float, rng: torch.Generator) -> Tensor:
    """Convolve with a Gaussian, untruncated, of ``deviation`` pixels."""
    return _convolved(images, deviation, tiled=images.shape[1] > 1)


def _convolved(images: Tensor, deviation: float, tiled: bool) -> Tensor:
    down, across = (_gaussian(size, deviation, tiled).to(images) for size in images.shape[-2:])
    return (down @ images @ across.mT).clamp(_low(images), 1)


def _gaussian(size: int, deviation: float, tiled: bool) -> Tensor:
    """Weights (size, size) of each place (a column) in the sum at each place (a row)."""
    along = torch.arange(size, dtype=torch.float64)
    away = along[:, None] - along + size * torch.arange(-1.0, 2)[:, None, None]  # of its copies in three tiles
    weights = (-0.5 * (away / max(deviation, LEAST_DEVIATION)).square()).exp()
    return (weights.sum(0) if tiled else weights[1]) / weights.sum((0, 2)).unsqueeze(1)


def _low(images: Tensor) -> float:
    return 0.0 if images.shape[1] == 1 else -1.0


def _selected(images: Tensor, share: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(len(images), 1, 1, 1, generator=rng) < share).to(images.device)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return 2 * torch.rand(*shape, generator=rng) - 1  # in [-1, 1]


# Labels: a mechanism's own (B,), the shape's (B,), which is the class to predict, and the number of classes


@INTERVENTIONS.on_labels(SHAPE, "relabel", Number(1, high=1))
def relabel(own: Tensor, shape: Tensor, classes: int, share: float, rng: torch.Generator) -> Tensor:
    """Another class than the shape's, each of them equally often, with probability ``share``."""
    if classes < 2:
        raise UserError("shape.relabel: the CGN has one class alone: leave it out")
    other = (shape + torch.randint(1, classes, shape.shape, generator=rng)) % classes
    return torch.where(torch.rand(shape.shape, generator=rng) < share, other, own)


@INTERVENTIONS.on_labels(PICTURES, "correlate", Number(0.5, high=1))
def correlate(own: Tensor, shape: Tensor, classes: int, share: float, rng: torch.Generator) -> Tensor:
    """The shape's class with probability ``share``: own and shape agree with share + (1 - share) / classes."""
    return torch.where(torch.rand(shape.shape, generator=rng) < share, shape, own)


@INTERVENTIONS.on_labels(EVERY, "freeze", ClassLabel(3))
def freeze(own: Tensor, shape: Tensor, classes: int, label: int, rng: torch.Generator) -> Tensor:
    """One class always."""
    return torch.full_like(own, label)


# Inputs: a texture's own noise (B, Z) and labels (B,), and those of its shape


@INTERVENTIONS.on_inputs((Mechanism.TEXTURE,), "whole", Number(0.5, high=1))
def whole(own: Query, shape: Query, share: float, rng: torch.Generator) -> Query:
    """Noise and label of the shape with probability ``share``: a photo CGN draws the whole object of one photograph."""
    rows = torch.rand(len(own.labels), generator=rng) < share
    return Query(torch.where(rows[:, None], shape.noise, own.noise), torch.where(rows, shape.labels, own.labels))
