r"""Whether masks follow the objects in pictures, measured without knowing where the objects are.

An encoder's noise of a real picture x_i of class y gives the CGN's layers m_i, t_i, b_i of it. A mask that follows
x_i's object explains x_i better than the masks of other pictures j of the class do:

.. math:: g = 1 - \frac{\sum_i |m_i t_i + (1 - m_i) b_i - x_i|^2}{\sum_i E_j |m_j t_i + (1 - m_j) b_i - x_i|^2}

Blobs that do not depend on the picture have g near 0. Textures that tile count by their mean over all crops.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.data.folders import as_unit
from skdcgn.teachers.health import Symptom, balanced_selection
from skdcgn.teachers.teaching_data import TeachingData
from skdcgn.teachers.views import crop_expectation

PICTURES, OTHERS = 400, 3  # pictures that are measured, and others of its class for each
LEAST_GAIN = 0.05


class Following(NamedTuple):
    """How well masks follow pictures.

    Args:
        mask_gain: share of the error with other pictures' masks that the own mask saves; None: too few pictures.
        mask_iou: mean IoU of the own mask with the given one, both cut at 0.5; None: no masks are given.
    """

    mask_gain: float | None
    mask_iou: float | None

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that were measured, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in self.numbers.items())

    @property
    def symptoms(self) -> list[Symptom]:
        """Masks that follow no object, where none are given."""
        if self.mask_iou is not None or self.mask_gain is None or self.mask_gain >= LEAST_GAIN:
            return []
        words = (
            f"the masks do not follow the objects: a picture's own mask explains it hardly better than another's "
            f"(mask_gain {self.mask_gain:.3f}, sound above {LEAST_GAIN}): pass --masks, which skdcgn segment writes"
        )
        return [Symptom(words, fatal=False)]


@torch.no_grad()
def check_following(teacher: Teacher, encoder: nn.Module, data: TeachingData, seed: int) -> Following:
    """Measure whether the masks of reconstructions follow a seeded selection of the pictures."""
    rows = balanced_selection(data.pictures.labels, PICTURES, generator(seed, "following"))
    rows = rows[data.pictures.labels[rows].argsort(stable=True)]
    images, labels = as_unit(data.pictures.images[rows]), data.pictures.labels[rows]
    noise = _encode(encoder, images, labels)
    layers = Layers(*(teacher.query(mechanism, noise, labels) for mechanism in Mechanism))
    layers = crop_expectation(layers) if teacher.spec.tiles else layers
    iou = None if data.masks is None else _overlap(layers.mask, data.masks[rows] / 255)
    return Following(mask_gain(layers, images, labels), iou)


def _encode(encoder: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the encoder's mean noise (B, Z) on the CPU; the encoder stays in training mode."""
    place = next(encoder.parameters()).device
    encoder.eval()
    mean: Tensor = encoder(images.to(place), labels.to(place))[0]
    encoder.train()
    return mean.cpu()


def mask_gain(layers: Layers, images: Tensor, labels: Tensor) -> float | None:
    """Return g of layers of images (B, 3, H, W), whose labels (B,) are sorted; None if no class has enough images."""
    sizes, counts = labels.bincount(), torch.arange(len(labels))
    size, start = sizes[labels], (sizes.cumsum(0) - sizes)[labels]
    enough = size > OTHERS
    if not enough.any():
        return None

    def error(mask: Tensor) -> Tensor:
        return (blend(layers._replace(mask=mask)) - images)[enough].square().mean()

    others = [start + (counts - start + step) % size for step in range(1, OTHERS + 1)]
    return float(1 - error(layers.mask) / torch.stack([error(layers.mask[other]) for other in others]).mean())


def _overlap(masks: Tensor, others: Tensor) -> float:
    """Return the mean IoU of masks (B, 1, H, W), cut at 0.5."""
    first, second = (masks > 0.5).flatten(1), (others > 0.5).flatten(1)
    return float(((first & second).sum(1) / (first | second).sum(1).clamp(min=1)).mean())
