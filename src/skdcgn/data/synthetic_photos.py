"""Synthetic photographs with their masks, to try the code offline: a cross, a disc or a square on a striped ground.

The stripes of a class have a direction and a hue of their own, so that a background tells the class, as in photographs;
an object has a shape of its class and any colour. Accuracies on them describe these drawings, and no photographs.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.files import write_bytes, write_json
from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.cgn.pictures import encode

GROUND = ((0.2, 0.5, 0.2), (0.2, 0.3, 0.6), (0.6, 0.45, 0.2))
SOFT = 24.0  # steepness of an edge: its width is 1 / SOFT of the picture's side


class SyntheticPhotos(NamedTuple):
    """The folders of photographs to train on, photographs to test with, and the masks of both."""

    images: Path
    test: Path
    masks: Path


def synthetic_photos(out: Path, *, train: int = 8, test: int = 4, size: int = 48, seed: int = 0) -> SyntheticPhotos:
    """Draw photographs and masks into ``out``, unless they are there; return their folders.

    Args:
        train, test: photographs per class.
        size: pixels of a side.
    """
    folders, done = SyntheticPhotos(out / "train", out / "test", out / "masks"), out / "done.json"
    if not done.exists():
        for folder, count in ((folders.images, train), (folders.test, test)):
            for label, name in enumerate(OBJECTS):
                for index in range(count):
                    photo, mask = synthetic_photo(label, size, generator(seed, folder.name, label, index))
                    write_bytes(folder / name / f"{folder.name}{index}.png", encode(photo))
                    write_bytes(folders.masks / name / f"{folder.name}{index}.png", encode(mask))
        write_json(done, {"train": train, "test": test, "size": size, "seed": seed})
    return folders


def synthetic_photo(label: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one photograph (size, size, 3) uint8 and its mask (size, size) uint8."""
    colour, place, light = torch.rand(3, generator=rng), torch.rand(3, generator=rng), torch.rand(2, generator=rng)
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    radius = 0.4 + 0.2 * float(place[2])
    distance = list(OBJECTS.values())[label](x - float(place[0] - 0.5) / 2, y - float(place[1] - 0.5) / 2, radius)
    mask = torch.sigmoid(-SOFT * distance)[..., None]  # (size, size, 1)
    angle = math.pi * label / len(OBJECTS)
    stripes = torch.sin(9 * (math.cos(angle) * x + math.sin(angle) * y) + 6 * light[0])[..., None]
    ground = torch.tensor(GROUND[label]) * (0.8 + 0.4 * light[1]) + 0.15 * stripes
    dots = torch.sin(20 * x) * torch.sin(20 * y)
    surface = 0.15 + 0.7 * colour + 0.1 * dots[..., None]
    photo = blend(Layers(mask, surface, ground)).clamp(0, 1)
    return (255 * photo).round().to(torch.uint8), (255 * mask[..., 0]).round().to(torch.uint8)


def _disc(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return torch.hypot(x, y) - radius


def _square(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85 * radius


def _cross(x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Return the distance to a cross whose arms are a third of its extent wide."""
    near, far = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
    return torch.maximum(far - 1.1 * radius, near - 0.4 * radius)


OBJECTS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"cross": _cross, "disc": _disc, "square": _square}
"""The signed distance to each object, by the name of its class, sorted as folders are."""
