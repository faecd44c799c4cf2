"""A teacher's health: a sample of its layers compared with real shapes, and the usual failures in words."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import blend, draw
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.data.images import LabelledImages
from skdcgn.metrics.pixels import class_diversity

PER_CLASS = 40
MOST_REAL = 5000
COARSE = 4  # pictures are compared by the means of 4 x 4 pixels
ONE_SHAPE = 0.007  # least diversity of a class's masks; real digits have twenty times as much
COLLISION = 0.7  # least share of samples nearest to their own class
LEAKAGE = 0.1  # the published teachers have 0.02 at most
FAINT = 0.05  # six of 256 grey levels


class MaskLimits(NamedTuple):
    """Limits of masks in one recipe: of a mask's mean, and of its binary entropy in bits.

    ``range``: means that cost nothing in training; ``empty`` and ``full``: means that are a symptom; ``grey``: the
    entropy that is one; ``mend``: what to do about empty and full masks.
    """

    range: tuple[float, float]
    empty: float
    full: float
    grey: float
    mend: str


GLYPH_MASKS = MaskLimits((0.05, 0.5), empty=0.025, full=0.6, grey=1.0, mend="raise --binary or take another --seed")
PHOTO_MASKS = MaskLimits((0.1, 0.9), empty=0.02, full=0.98, grey=0.3, mend="raise --mask")


class Health(NamedTuple):
    """A sample of masks, or of whole pictures where the real shapes are unknown, compared with real ones.

    Diversity within a class as a share of the real ones', mean and least over the classes; how often the nearest
    real one has the same class; its distance, as a multiple of the distance between real ones; the mean of the masks;
    their least diversity within a class, mean distance per pixel; and how much shape the textures carry, see
    :func:`leakage`.
    """

    diversity: float
    least_diversity: float
    class_accuracy: float
    distance: float
    mask_mean: float
    mask_diversity: float
    leakage: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self._asdict().items())


def check_health(teacher: Teacher, real: LabelledImages, seed: int) -> Health:
    """Compare samples of a teacher with ``real`` masks (M, 1, H, W) or pictures (M, 3, H, W)."""
    spec, images, real_labels = teacher.spec, real.images[:MOST_REAL], real.labels[:MOST_REAL]
    labels = torch.arange(spec.classes).repeat_interleave(PER_CLASS)
    noise = spec.sample_noise(len(labels), generator(seed, "health"))
    layers = Layers(*(draw(teacher, mechanism, noise, labels) for mechanism in Mechanism))
    samples = layers.mask if images.shape[1] == 1 else F.avg_pool2d(blend(layers), COARSE)
    images = images if images.shape[1] == 1 else F.avg_pool2d(images, COARSE)
    share = class_diversity(samples, labels, spec.classes) / class_diversity(images, real_labels, spec.classes)
    distances, nearest = torch.cdist(samples.flatten(1), images.flatten(1), p=1).min(1)
    between = torch.cdist(images[: len(labels)].flatten(1), images.flatten(1), p=1).topk(2, largest=False).values[:, 1]
    return Health(
        diversity=float(share.nanmean()),
        least_diversity=float(share.nan_to_num(torch.inf).min()),
        class_accuracy=float((real_labels[nearest] == labels).float().mean()),
        distance=float(distances.mean() / between.mean()),
        mask_mean=float(layers.mask.mean()),
        mask_diversity=float(class_diversity(layers.mask, labels, spec.classes).min()),
        leakage=max(leakage(layers.mask, picture) for picture in (layers.texture, layers.background)),
    )


def leakage(masks: Tensor, pictures: Tensor) -> float:
    """Return how much of its own mask a picture shows: 0 where the mechanisms are independent, towards 1 for a copy.

    The greatest |correlation| of a grey picture (B, 3, H, W) with the mask (B, 1, H, W) of the same noise and label,
    over all cyclic shifts (the composer crops tiles anywhere), less that with the mask of another row, halfway round.
    """
    mask, picture = (_standardised(x.mean(1)) for x in (masks, pictures))  # (B, H, W)
    own, other = (_greatest_correlation(picture, m) for m in (mask, mask.roll(len(mask) // 2, 0)))
    return float((own - other).mean())


def _standardised(images: Tensor) -> Tensor:
    """Mean 0, variance 1 / (H W); an image that varies by less than a few grey levels stays near 0."""
    centred = images - images.mean((1, 2), keepdim=True)
    return centred / (centred.square().sum((1, 2), keepdim=True) + FAINT**2 * centred[0].numel()).sqrt()


def _greatest_correlation(first: Tensor, second: Tensor) -> Tensor:
    product = torch.fft.rfft2(first) * torch.fft.rfft2(second).conj()
    return torch.fft.irfft2(product, s=first.shape[-2:]).abs().amax((1, 2))


class Symptom(NamedTuple):
    """A usual failure in words, with the mend; a fatal one does not go away with more steps."""

    words: str
    fatal: bool


def symptoms(health: Health) -> Iterator[Symptom]:
    """Name the usual failures that the health of a teacher of glyphs shows."""
    yield from mask_symptoms(GLYPH_MASKS, health.mask_mean)
    if health.mask_diversity < ONE_SHAPE:
        yield Symptom("a class has one shape for every noise: raise --reconstruction", True)
    if health.class_accuracy < COLLISION:
        yield Symptom(
            f"classes collide: only {health.class_accuracy:.0%} of the samples are nearest to their own class; "
            "raise --adversarial or --steps",
            False,
        )
    if health.leakage > LEAKAGE:
        yield Symptom(f"a texture carries the shape (leakage {health.leakage:.2f}): raise --perceptual", False)


def mask_symptoms(limits: MaskLimits, mean: float, entropy: float = 0.0) -> Iterator[Symptom]:
    """Name the failures of masks of such a mean, and of such a binary entropy in bits."""
    if mean < limits.empty:
        yield Symptom(f"the masks are empty (mean {mean:.2f}): {limits.mend}", True)
    elif mean > limits.full:
        yield Symptom(f"the masks are full or inverted (mean {mean:.2f}): {limits.mend}", True)
    elif entropy > limits.grey:
        yield Symptom(f"the masks are grey (entropy {entropy:.2f} bits): raise --binary", False)
