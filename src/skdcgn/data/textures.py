"""Texture pictures for the ``wildlife`` appearance: a folder's photographs, or the project's own patterns.

A pattern is a field f on the plane and two colours: ``picture = ground + s((f - q) / w) (figure - ground)``, where the
quantile q sets the share of the figure, w the width of its edge, and s is the logistic function. The fields are white
noise with a spectrum like that of an activator and an inhibitor in an animal's skin (Turing 1952; Young 1984), or
distances to scattered seeds (Worley 1996) on a plane that noise warps. Objects have coats of animals; backgrounds are
leaves and ground, of another colour than the animal of their class.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.data.decoding import open_picture
from skdcgn.data.folders import as_tensor, find_pictures

CLASSES = 10
SHADING = 0.07  # deviation of the light on every picture: slow clouds and fine grain
STRETCH = 5.0  # how much longer than wide a fibre is
MARGIN = 3  # cells of seeds beyond the picture's edge, further than the warp reaches


class Pattern(NamedTuple):
    """The pattern of one class.

    Args:
        kind: a field in ``FIELDS``.
        figure: red, green, blue of the figure, 0 to 255.
        ground: red, green, blue of the ground, 0 to 255.
        wavelength: pixels.
        angle: degrees, of stripes and fibres.
        share: of the picture that is figure.
        softness: width of the figure's edge in deviations of the field.
    """

    kind: str
    figure: tuple[int, int, int]
    ground: tuple[int, int, int]
    wavelength: float
    angle: float
    share: float
    softness: float


# fmt: off
TABLES = {
    "object": (
        #        kind        figure           ground           wave angle share soft
        Pattern("stripes",  ( 22,  20,  20), (238, 234, 226),  13,   8, 0.50, 0.08),  # zebra
        Pattern("stripes",  ( 38,  22,  12), (232, 124,  30),  18,  82, 0.34, 0.12),  # tiger
        Pattern("rosettes", ( 56,  34,  18), (226, 178,  92),  16,   0, 0.42, 0.12),  # leopard
        Pattern("patches",  (140,  72,  30), (246, 222, 176),  24,   0, 0.76, 0.05),  # giraffe
        Pattern("spots",    ( 20,  14,  16), (206,  24,  28),  19,   0, 0.26, 0.08),  # ladybird
        Pattern("spots",    (250, 244, 236), (112,  84,  78),  12,   0, 0.20, 0.10),  # fawn
        Pattern("stripes",  ( 16,  84,  52), (132, 204,  84),  11,  45, 0.45, 0.15),  # lizard
        Pattern("maze",     ( 24,  48, 140), (246, 200,  44),  12,   0, 0.50, 0.10),  # angelfish
        Pattern("maze",     (248, 168, 196), (104,  40, 132),  17,   0, 0.42, 0.15),  # sea slug
        Pattern("patches",  ( 36, 176, 206), ( 14,  18,  36),  17,   0, 0.52, 0.08),  # poison frog
    ),
    "background": (
        Pattern("veins",    (190, 222, 110), ( 56, 132,  40),  42,   0, 0.22, 0.40),  # leaf
        Pattern("stripes",  (240, 218, 168), (196, 160, 104),  15,  97, 0.50, 0.60),  # dune
        Pattern("grains",   ( 84,  84,  94), (206, 202, 200),   7,   0, 0.45, 0.50),  # granite
        Pattern("veins",    (240, 210, 216), (112,  24,  56),  32,   0, 0.18, 0.40),  # red cabbage
        Pattern("spots",    (246, 136, 186), ( 64, 112,  70),  17,   0, 0.24, 0.10),  # meadow in flower
        Pattern("clouds",   (156, 186, 222), (246, 250, 254),  36,   0, 0.40, 0.60),  # snow
        Pattern("cracks",   ( 48,  28,  20), (190, 128,  84),  30,   0, 0.14, 0.16),  # dry earth
        Pattern("fibres",   ( 40,  26,  22), (124,  88,  66),   9,   0, 0.45, 0.40),  # bark
        Pattern("cracks",   (206, 244, 250), ( 24, 118, 190),  22,   0, 0.16, 0.40),  # water
        Pattern("clouds",   ( 26,  44,  22), (132, 140,  40),  24,   0, 0.50, 0.40),  # moss
    ),
}
# fmt: on


def load_textures(folder: Path | None, part: str, size: int = 150) -> Tensor:
    """Return ten texture pictures (10, 3, size, size) in [0, 1], one per class.

    Args:
        folder: holds ``object`` and ``background`` with ten pictures each, in the order of their names; None: the
            project's own patterns.
        part: ``object`` or ``background``.

    Raises:
        UserError: no such part or folder, or other than ten pictures that can be read.
    """
    if part not in TABLES:
        raise UserError(f"unknown part {part!r}: use {' or '.join(TABLES)}")
    return procedural_textures(part, size).clone() if folder is None else _photographs(folder / part, size)


def _photographs(folder: Path, size: int) -> Tensor:
    return torch.stack([_photograph(path, size) for path in texture_files(folder)])


def texture_files(folder: Path) -> list[Path]:
    """Return the ten pictures of a folder of textures, sorted; raise UserError if there are other than ten."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: --textures needs object and background with ten pictures each")
    files = find_pictures(folder)
    if len(files) != CLASSES:
        raise UserError(f"{folder} holds {len(files)} pictures: it should hold ten, one per class")
    return [Path(file) for file in files]


def _photograph(path: Path, size: int) -> Tensor:
    return as_tensor(open_picture(path).resize((size, size), Image.Resampling.BILINEAR)) / 255  # (3, size, size)


@lru_cache(maxsize=4)
def procedural_textures(part: str, size: int) -> Tensor:
    """Return the project's own textures (10, 3, size, size) in [0, 1] of ``object`` or ``background``."""
    return torch.stack([_render(p, size, generator("textures", part, i)) for i, p in enumerate(TABLES[part])])


def _render(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    """Mix the two colours by the pattern's field and multiply by light."""
    field = FIELDS[pattern.kind](pattern, size, rng)
    edge = (field - field.quantile(1 - pattern.share)) / (pattern.softness * field.std())
    figure, ground = (torch.tensor(colour)[:, None, None] / 255 for colour in (pattern.figure, pattern.ground))
    light = 1 + SHADING * _clouds(pattern._replace(wavelength=size / 2), size, rng)
    return (torch.lerp(ground, figure, edge.sigmoid()) * light).clamp(0, 1)  # (3, size, size)


def _noise(gain: Tensor, rng: torch.Generator) -> Tensor:
    """White noise with its spectrum multiplied by ``gain`` (S, S), mean 0 and variance 1."""
    field = torch.fft.ifft2(torch.fft.fft2(torch.randn(gain.shape, generator=rng)) * gain).real
    return (field - field.mean()) / field.std()


def _waves(size: int, angle: float) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles per pixel across and along stripes that lean by ``angle`` degrees from upright."""
    y, x = torch.meshgrid(torch.fft.fftfreq(size), torch.fft.fftfreq(size), indexing="ij")
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return cos * x + sin * y, cos * y - sin * x


def _ring(radius: Tensor, wavelength: float) -> Tensor:
    """Keep frequencies around one wavelength, which is at most the picture's side."""
    return torch.exp(-(((radius * min(wavelength, len(radius)) - 1) / 0.25) ** 2))


def _stripes(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    across, along = _waves(size, pattern.angle)
    radius = torch.hypot(across, along)
    lean = along / (radius + 1e-9)  # sine of the angle between a wave and the stripes' normal
    return _noise(_ring(radius, pattern.wavelength) * torch.exp(-((lean / 0.35) ** 2)), rng)


def _maze(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return _noise(_ring(torch.hypot(*_waves(size, 0)), pattern.wavelength), rng)


def _power_law(radius: Tensor) -> Tensor:
    """Amplitude falling as radius^-1.5 beyond radius 1 and level below it: shapes of many sizes."""
    return radius.clamp(min=1) ** -1.5 * (radius > 0)


def _clouds(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return _noise(_power_law(torch.hypot(*_waves(size, 0)) * pattern.wavelength), rng)


def _fibres(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    across, along = _waves(size, pattern.angle)
    return _noise(_power_law(torch.hypot(across, STRETCH * along) * pattern.wavelength), rng)


class Cells(NamedTuple):
    """Per pixel (S, S): distance to its seed, to the cell's border, and a number in [0, 1) drawn per cell."""

    centre: Tensor
    border: Tensor
    tone: Tensor


def seed_cells(pattern: Pattern, size: int, rng: torch.Generator, warp: float = 0.07) -> Cells:
    """Split the plane between seeds on a jittered brick lattice; lengths are in wavelengths.

    The border between seeds a and b is their bisector: at distance (|p - b|^2 - |p - a|^2) / (2 |a - b|).
    """
    pitch = pattern.wavelength
    lattice = torch.arange(-MARGIN, int(size / pitch) + MARGIN + 1).float()
    y, x = torch.meshgrid(lattice, lattice, indexing="ij")
    seeds = torch.stack([y, x + 0.5 * (y % 2)], -1) + 0.6 * torch.rand(*y.shape, 2, generator=rng)
    seeds = seeds.flatten(0, 1)  # (M, 2)
    wobble = torch.stack([_maze(pattern, size, rng) for _ in range(2)], -1)
    grid = torch.arange(size) / pitch
    pixels = torch.cartesian_prod(grid, grid) + warp * wobble.view(-1, 2)  # (S * S, 2)
    near, index = torch.cdist(pixels, seeds).topk(2, largest=False)
    apart = (seeds[index[:, 0]] - seeds[index[:, 1]]).norm(dim=1)
    border = (near[:, 1].square() - near[:, 0].square()) / (2 * apart)
    tone = torch.rand(len(seeds), generator=rng)[index[:, 0]]
    return Cells(*(values.view(size, size) for values in (near[:, 0], border, tone)))


def _spots(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return -seed_cells(pattern, size, rng, warp=0.04).centre


def _rosettes(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    """Broken rings around the seeds."""
    rings = (seed_cells(pattern, size, rng).centre - 0.3).abs()
    return -rings + 0.05 * _maze(pattern._replace(wavelength=pattern.wavelength / 2), size, rng)


def _patches(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return seed_cells(pattern, size, rng).border


def _cracks(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    return -_patches(pattern, size, rng)


def _veins(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    """Wide veins with a net of finer ones between them."""
    fine = pattern._replace(wavelength=pattern.wavelength / 4)
    return torch.maximum(_cracks(pattern, size, rng), _cracks(fine, size, rng) / 3 - 0.02)


def _grains(pattern: Pattern, size: int, rng: torch.Generator) -> Tensor:
    """Cells of many tones between the two colours."""
    return seed_cells(pattern, size, rng).tone


FIELDS: dict[str, Callable[[Pattern, int, torch.Generator], Tensor]] = {
    "stripes": _stripes,
    "maze": _maze,
    "clouds": _clouds,
    "fibres": _fibres,
    "spots": _spots,
    "rosettes": _rosettes,
    "patches": _patches,
    "cracks": _cracks,
    "veins": _veins,
    "grains": _grains,
}
