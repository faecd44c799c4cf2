"""Texture pictures for the ``wildlife`` appearance: a folder's photographs, or the project's own patterns.

The patterns are made, not drawn: white noise through band-pass filters, thresholded as activator and inhibitor
do in an animal's skin (Turing 1952; Young 1984), or distances to scattered seeds (Worley 1996) for patches and
veins. Objects wear coats, backgrounds are ground and leaves; each class has a row in a table.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from skdcgn.errors import UserError
from skdcgn.seeds import generator

PARTS = ("object", "background")
CLASSES = 10
NEIGHBOUR_WIDTH = 2


class Pattern(NamedTuple):
    """A class's look: kind, two colours 0-255 (figure, ground), wavelength in pixels, angle in degrees, share of figure."""

    kind: str
    figure: tuple[int, int, int]
    ground: tuple[int, int, int]
    wavelength: float
    angle: float
    share: float


# fmt: off
COATS = (
    Pattern("stripes", ( 25,  22,  20), (236, 231, 220), 12,  10, 0.50),  # zebra
    Pattern("stripes", ( 45,  25,  12), (226, 128,  38), 17,  80, 0.35),  # tiger
    Pattern("spots",   ( 40,  26,  16), (224, 180,  98), 10,   0, 0.30),  # cheetah
    Pattern("patches", (146,  78,  32), (240, 214, 164), 22,   0, 0.80),  # giraffe
    Pattern("patches", ( 20,  20,  24), (244, 243, 240), 40,   0, 0.45),  # cow
    Pattern("spots",   (250, 244, 230), (150,  74,  40), 15,   0, 0.25),  # fawn
    Pattern("stripes", ( 30,  80,  60), (120, 190,  90), 14,  45, 0.50),  # lizard
    Pattern("maze",    ( 20,  40, 120), (240, 190,  40), 11,   0, 0.50),  # angelfish
    Pattern("maze",    (220,  90,  60), (250, 232, 214), 15,   0, 0.45),  # shell
    Pattern("spots",   ( 20, 150, 180), ( 28,  30,  66), 14,   0, 0.40),  # poison frog
)
GROUNDS = (
    Pattern("veins",   (150, 190,  90), ( 44,  96,  36), 28,   0, 0.10),  # leaf
    Pattern("stripes", (214, 190, 140), (196, 166, 112), 16,  95, 0.50),  # dune
    Pattern("clouds",  ( 96,  96, 104), (170, 170, 172), 10,   0, 0.50),  # granite
    Pattern("stripes", ( 40, 110, 170), ( 90, 170, 210), 14,  85, 0.50),  # water
    Pattern("veins",   ( 60,  40,  28), (150, 106,  70), 20,   0, 0.12),  # dry earth
    Pattern("stripes", ( 70,  46,  30), (110,  78,  52),  8,   0, 0.50),  # bark
    Pattern("spots",   (230, 120, 160), ( 84, 140,  70), 16,   0, 0.25),  # meadow in flower
    Pattern("clouds",  (196, 214, 236), (240, 246, 252), 30,   0, 0.50),  # snow
    Pattern("veins",   (236, 226, 214), (120,  36,  44), 34,   0, 0.08),  # red cabbage
    Pattern("clouds",  ( 34,  58,  34), (104, 116,  44), 18,   0, 0.50),  # moss
)
# fmt: on


def load_textures(folder: Path | None, part: str, size: int = 150) -> Tensor:
    """Return ten texture pictures (10, 3, size, size) in [0, 1], one per class.

    Args:
        folder: holds ``object`` and ``background`` with ten pictures each, in the order of their names;
            None makes the project's own.
        part: ``object`` or ``background``.
    """
    if part not in PARTS:
        raise UserError(f"unknown part {part!r}: use object or background")
    return _procedural(part, size) if folder is None else _photographs(folder / part, size)


def _photographs(folder: Path, size: int) -> Tensor:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: --textures needs object and background with ten pictures each")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(files) != CLASSES:
        raise UserError(f"{folder} holds {len(files)} files: it should hold ten pictures, one per class")
    return torch.stack([_picture(path, size) for path in files])


def _picture(path: Path, size: int) -> Tensor:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError):
        raise UserError(f"{path} is not a picture that Pillow can read: replace it") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255  # (3, size, size)


@lru_cache(maxsize=4)
def _procedural(part: str, size: int) -> Tensor:
    table = COATS if part == "object" else GROUNDS
    return torch.stack([_render(pattern, size, generator("textures", part, i)) for i, pattern in enumerate(table)])


def _render(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    """Mix figure and ground by a soft-edged figure, and shade both with fine grain and slow light."""
    field = KINDS[pattern.kind](pattern, size, rng)
    level = field.flatten().quantile(1 - pattern.share)
    softness = 0.5 if pattern.kind == "clouds" else 0.08
    inside = torch.sigmoid((field - level) / (softness * field.std()))  # (size, size)
    figure, ground = (torch.tensor(c)[:, None, None] / 255 for c in (pattern.figure, pattern.ground))
    grain = 0.03 * band(size, 3, rng) + 0.05 * band(size, 60, rng)
    return (torch.lerp(ground, figure, inside) * (1 + grain)).clamp(0, 1)


def band(size: int, wavelength: float, rng: torch.Generator, angle: float | None = None) -> Tensor:
    """White noise kept around one wavelength, and around one direction if an angle is given; variance 1."""
    spectrum = torch.fft.fft2(torch.randn(size, size, generator=rng))
    frequency = torch.fft.fftfreq(size)
    y, x = frequency[:, None], frequency[None]
    radius = (x.square() + y.square()).sqrt() * wavelength
    keep = torch.exp(-(((radius - 1) / 0.25) ** 2))
    if angle is not None:
        turned = torch.atan2(y, x) - np.deg2rad(angle)
        keep = keep * torch.exp(-((torch.sin(turned) / 0.35) ** 2))
    field = torch.fft.ifft2(spectrum * keep).real
    return (field - field.mean()) / field.std()


def seeds_distances(size: int, wavelength: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance to the nearest and the second nearest of scattered seeds, in wavelengths, on a jittered grid."""
    cells = max(2, round(size / wavelength))
    corner = torch.arange(cells).repeat(cells, 1)
    seeds = torch.stack([corner.mT, corner]).float() + 0.15 + 0.7 * torch.rand(2, cells, cells, generator=rng)
    tiled = F.pad(seeds[None], (NEIGHBOUR_WIDTH,) * 4, mode="circular")[0]
    shift = torch.zeros_like(tiled)
    for axis in range(2):
        index = torch.arange(-NEIGHBOUR_WIDTH, cells + NEIGHBOUR_WIDTH)
        wraps = torch.div(index, cells, rounding_mode="floor").float() * cells
        shift[axis] = wraps[:, None] if axis == 0 else wraps[None]
    points = (tiled + shift).flatten(1).mT  # (M, 2)
    grid = torch.arange(size) * cells / size
    pixels = torch.cartesian_prod(grid, grid)  # (size * size, 2)
    nearest = torch.cdist(pixels, points).topk(2, largest=False).values
    return nearest[:, 0].view(size, size), nearest[:, 1].view(size, size)


def _stripes(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return band(size, pattern.wavelength, rng, pattern.angle)


def _maze(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return band(size, pattern.wavelength, rng)


def _clouds(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return sum((band(size, pattern.wavelength * 2.0**i, rng) * 2.0**-i for i in range(-1, 2)), torch.zeros(size, size))


def _spots(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    nearest, _ = seeds_distances(size, pattern.wavelength, rng)
    return -nearest + 0.06 * band(size, pattern.wavelength / 2, rng)


def _patches(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    nearest, second = seeds_distances(size, pattern.wavelength, rng)
    return second - nearest + 0.05 * band(size, pattern.wavelength / 2, rng)


def _veins(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return -_patches(pattern, size, rng)


KINDS: dict[str, Callable[[Pattern, int, torch.Generator], Tensor]] = {
    "stripes": _stripes,
    "maze": _maze,
    "clouds": _clouds,
    "spots": _spots,
    "patches": _patches,
    "veins": _veins,
}
