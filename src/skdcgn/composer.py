"""The composer: ``x = m * t + (1 - m) * b`` (Sauer & Geiger 2021, Eq. 2), written here and nowhere else.

Labels of the three mechanisms are drawn independently, so that the composed image is a counterfactual; the
textures are tiled and cropped at random here, never inside a mechanism, which stays a function of (u, y).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skdcgn.errors import UserError
from skdcgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.seeds import generator

BATCH = 256


def blend(layers: Layers) -> Tensor:
    """x = m * t + (1 - m) * b."""
    return layers.mask * layers.texture + (1 - layers.mask) * layers.background  # (B, 3, H, W)


def tile_crop(pictures: Tensor, offsets: Tensor) -> Tensor:
    """Tile (B, 3, H, W) 2 x 2 and cut the H x W window that begins at ``offsets`` (B, 2), row and column."""
    height, width = pictures.shape[-2:]
    rows = (offsets[:, 0, None] + torch.arange(height, device=pictures.device)) % height  # (B, H)
    columns = (offsets[:, 1, None] + torch.arange(width, device=pictures.device)) % width  # (B, W)
    batch = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return pictures[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # (B, 3, H, W)


def sample_offsets(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw crop offsets (count, 2), uniform over the tile."""
    return torch.randint(size, (count, 2), generator=rng)


@dataclass(frozen=True)
class Counterfactuals:
    """Composed images (N, 3, H, W) in [-1, 1] and the three labels (N,) int64 of each."""

    images: Tensor
    shape_labels: Tensor
    texture_labels: Tensor
    background_labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to_dict(self) -> dict[str, Tensor]:
        """Return the four tensors by name, as they are stored in safetensors."""
        return {
            "images": self.images,
            "shape_labels": self.shape_labels,
            "texture_labels": self.texture_labels,
            "background_labels": self.background_labels,
        }


def draw(cgn: Teacher, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
    """Query in batches without gradients; return (N, C, H, W)."""
    with torch.inference_mode():
        answers = [cgn.query(mechanism, u, y) for u, y in zip(noise.split(BATCH), labels.split(BATCH), strict=True)]
    return torch.cat(answers)


def compose(cgn: Teacher, n: int, *, per_shape: int = 1, seed: int = 0) -> Counterfactuals:
    """Draw ``n`` counterfactuals whose shape, texture and background labels are independent and uniform.

    Args:
        cgn: a teacher or a student CGN.
        n: how many images.
        per_shape: images that share one mask (k); each has its own texture and background.
        seed: the same seed gives the same bytes on the same machine.
    """
    if n < 1 or per_shape < 1:
        raise UserError(f"n is {n} and per_shape is {per_shape}: both must be at least 1")
    spec, shapes = cgn.spec, -(-n // per_shape)
    rng = generator(seed, "compose")
    labels, layers = [], []
    for mechanism, count in zip(Mechanism, (shapes, n, n), strict=True):
        labels.append(torch.randint(spec.classes, (count,), generator=rng))
        layers.append(draw(cgn, mechanism, spec.sample_noise(count, rng), labels[-1]))
    mask = layers[0].repeat_interleave(per_shape, dim=0)[:n]
    texture, background = (tile_crop(x, sample_offsets(n, spec.image_size, rng)) for x in layers[1:])
    shape_labels = labels[0].repeat_interleave(per_shape)[:n]
    return Counterfactuals(blend(Layers(mask, texture, background)), shape_labels, labels[1], labels[2])
