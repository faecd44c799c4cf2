"""A teacher's health: a sample of its layers compared with real shapes, and the usual failures in words.

Real masks or pictures score by the same rules: each of a seeded selection, balanced over the classes, is held out alone
and compared with all the others. Limits of a teacher are shares of these numbers, so that they hold for glyphs and for
photographs, which lie nearest to one of another class far more often.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.data.folders import as_unit
from skdcgn.data.images import LabelledImages
from skdcgn.metrics.pixels import class_diversity

PER_CLASS = 40
MOST_REAL, MOST_HELD_OUT, LEAST_HELD_OUT = 5000, 500, 100
COARSE = 4  # pictures are compared by the means of 4 x 4 pixels
ONE_SHAPE = 0.05  # least diversity of a class's masks, as a share of that of real masks
GREY_LEVEL = 1 / 255  # the same, mean distance per pixel, where no real masks are known
COLLISION = 0.75  # least share of samples nearest to their own class, as a share of that of real ones
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


class RealReference(NamedTuple):
    """Real masks (M, 1, H, W), or coarse pictures (M, 3, H, W), all different, and their numbers by the same rules.

    Args:
        images: at most ``MOST_REAL``, as equally many of each class as there are.
        labels: (M,) int64.
        diversity: (classes,) mean distance per pixel within a class; NaN for a class of fewer than two.
        distance: mean L1 distance of one that is held out to the nearest of the others; None of fewer than two.
        class_accuracy: how often that nearest one has the same class, mean over the classes of two or more; None if
            fewer than ``LEAST_HELD_OUT`` belong to such a class.
    """

    images: Tensor
    labels: Tensor
    diversity: Tensor
    distance: float | None
    class_accuracy: float | None

    @property
    def shapes(self) -> bool:
        """Whether these are masks, not pictures whose shapes are unknown."""
        return self.images.shape[1] == 1

    @property
    def numbers(self) -> dict[str, float]:
        """The class accuracy by its name in metrics.jsonl, if it was measured."""
        return {} if self.class_accuracy is None else {"real_class_accuracy": self.class_accuracy}

    @property
    def least_mask_diversity(self) -> float:
        """The diversity within a class, mean distance per pixel, below which masks have one shape."""
        return ONE_SHAPE * float(self.diversity.nan_to_num(torch.inf).min()) if self.shapes else GREY_LEVEL

    def __str__(self) -> str:
        if self.class_accuracy is None:
            return (
                f"fewer than {LEAST_HELD_OUT} real ones to hold out of classes of two or more: there is no reference "
                "for class_accuracy, so collisions of classes are not reported"
            )
        return f"of real ones that are held out, {self.class_accuracy:.2f} are nearest to their own class"


def real_reference(real: LabelledImages, classes: int, seed: int) -> RealReference:
    """Select real masks (M, 1, H, W) or pictures (M, 3, H, W), uint8 or in [-1, 1], and score them by the same rules.

    A picture that occurs twice in a class counts once.
    """
    rows = balanced_selection(real.labels, MOST_REAL, generator(seed, "real"))
    images, labels = _distinct(_compared(as_unit(real.images[rows])), real.labels[rows])
    distance, class_accuracy = _held_out(images, labels, classes, seed)
    return RealReference(images, labels, class_diversity(images, labels, classes), distance, class_accuracy)


def balanced_selection(labels: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Draw at most ``count`` rows of labels (N,) without replacement, as equally many of each class as there are."""
    order = torch.randperm(len(labels), generator=rng)
    by_class, sizes = labels[order].argsort(stable=True), labels.bincount()
    ranks = torch.empty_like(order)  # of each row among those of its class
    ranks[by_class] = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return order[ranks.argsort(stable=True)[:count]]


def _compared(images: Tensor) -> Tensor:
    """Return masks as they are, and coarse pictures."""
    return images if images.shape[1] == 1 else F.avg_pool2d(images, COARSE)


def _distinct(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out images that are equal to an earlier one of the same class."""
    first: dict[tuple[int, bytes], int] = {}
    for row, (label, image) in enumerate(zip(labels.tolist(), images.numpy(), strict=True)):
        first.setdefault((label, image.tobytes()), row)
    rows = list(first.values())
    return images[rows], labels[rows]


def _held_out(images: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[float | None, float | None]:
    """Compare each of some images with all the others: mean distance to the nearest, and how often its class agrees."""
    if len(images) < 2:
        return None, None
    rows = balanced_selection(labels, MOST_HELD_OUT, generator(seed, "held out"))
    distances = torch.cdist(images[rows].flatten(1), images.flatten(1), p=1)
    distances[torch.arange(len(rows)), rows] = torch.inf
    nearest_distances, nearest = distances.min(1)
    several = labels.bincount(minlength=classes)[labels[rows]] > 1
    agree = (labels[nearest] == labels[rows]).float()[several]
    by_class = [agree[labels[rows][several] == c].mean() for c in labels[rows][several].unique()]
    measured = len(agree) >= LEAST_HELD_OUT
    return float(nearest_distances.mean()), float(torch.stack(by_class).mean()) if measured else None


class Health(NamedTuple):
    """A sample of masks, or of whole pictures where the real shapes are unknown, compared with real ones.

    Diversity within a class as a share of the real ones', mean and least over the classes of two or more real ones;
    how often the nearest real one has the same class, over these classes; its distance, as a multiple of that between
    real ones; the mean of the masks; their least diversity within a class, mean distance per pixel; and how much shape
    the textures carry, see :func:`leakage`. None: not measured, there are too few real ones.
    """

    diversity: float | None
    least_diversity: float | None
    class_accuracy: float | None
    distance: float | None
    mask_mean: float
    mask_diversity: float
    leakage: float

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that were measured, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.numbers.items())


def check_health(teacher: Teacher, real: RealReference, seed: int) -> Health:
    """Compare samples of a teacher with real masks or pictures; see :func:`real_reference`."""
    spec = teacher.spec
    labels = torch.arange(spec.classes).repeat_interleave(PER_CLASS)
    noise = spec.sample_noise(len(labels), generator(seed, "health"))
    layers = Layers(*(draw(teacher, mechanism, noise, labels) for mechanism in Mechanism))
    samples = layers.mask if real.shapes else _compared(blend(layers))
    shares = class_diversity(samples, labels, spec.classes) / real.diversity
    shares = shares[shares.isfinite()]
    distances, nearest = torch.cdist(samples.flatten(1), real.images.flatten(1), p=1).min(1)
    several = real.diversity.isfinite()[labels]
    return Health(
        diversity=float(shares.mean()) if len(shares) else None,
        least_diversity=float(shares.min()) if len(shares) else None,
        class_accuracy=float((real.labels[nearest] == labels)[several].float().mean()) if several.any() else None,
        distance=float(distances.mean()) / real.distance if real.distance else None,
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


def symptoms(health: Health, real: RealReference) -> Iterator[Symptom]:
    """Name the usual failures that the health of a teacher shows beside real masks or pictures."""
    yield from mask_symptoms(GLYPH_MASKS, health.mask_mean)
    if health.mask_diversity < real.least_mask_diversity:
        yield Symptom("a class has one shape for every noise: raise --reconstruction", real.shapes)
    if health.class_accuracy is not None and real.class_accuracy is not None:
        yield from _collision(health.class_accuracy, real.class_accuracy)
    if health.leakage > LEAKAGE:
        yield Symptom(f"a texture carries the shape (leakage {health.leakage:.2f}): raise --perceptual", False)


def _collision(class_accuracy: float, real: float) -> Iterator[Symptom]:
    if class_accuracy < COLLISION * real:
        yield Symptom(
            f"classes collide: only {class_accuracy:.0%} of the samples are nearest to their own class, less than "
            f"{COLLISION:.0%} of the {real:.0%} of real ones that are held out; raise --adversarial or --steps",
            False,
        )


def mask_symptoms(limits: MaskLimits, mean: float, entropy: float = 0.0) -> Iterator[Symptom]:
    """Name the failures of masks of such a mean, and of such a binary entropy in bits."""
    if mean < limits.empty:
        yield Symptom(f"the masks are empty (mean {mean:.2f}): {limits.mend}", True)
    elif mean > limits.full:
        yield Symptom(f"the masks are full or inverted (mean {mean:.2f}): {limits.mend}", True)
    elif entropy > limits.grey:
        yield Symptom(f"the masks are grey (entropy {entropy:.2f} bits): raise --binary", False)
