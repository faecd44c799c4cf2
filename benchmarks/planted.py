"""Classifiers with a planted shortcut, and a teacher of real glyphs.

In a planted training set the label of texture, of background or of both equals the class with probability ``share``,
and is uniform over all classes otherwise; for both, one draw decides. Share 0 is the decorrelated set of every family.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, Teacher, as_mechanism, check_query
from skdcgn.classifiers.small_cnn import Classifier, load_classifier
from skdcgn.data.appearances import (
    APPEARANCES,
    CLASSES,
    DOUBLE_COLORED,
    DOUBLE_COLORED_DEVIATION,
    OBJECT_SHIFT,
    Labels,
)
from skdcgn.data.glyphs import DIGITS, load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.training_sets import train_and_test

TEXTURE, BACKGROUND = Mechanism.TEXTURE, Mechanism.BACKGROUND
FAMILIES = {"texture": (TEXTURE,), "background": (BACKGROUND,), "both": (TEXTURE, BACKGROUND)}
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
BUDGET = replace(PUBLISHED_TRAINING, images=16_000, epochs=1, he_init=True, cooldown=0.5)  # of digits
PHOTO_BUDGET = replace(BUDGET, images=8_000, epochs=5)
TEST_IMAGES, PHOTO_TEST_IMAGES, PHOTO_TEST_SEED = 5_000, 2_000, 1_000_000


@dataclass(frozen=True)
class Planted:
    """What is planted in the training set of a classifier: mechanisms by family, share in [0, 1], seed."""

    family: str
    share: float
    seed: int

    @property
    def name(self) -> str:
        """Of the run folder; share 0 is the same set in every family."""
        return f"{self.family if self.share else 'none'}-{self.share:g}-{self.seed}"


def ladder(families: Iterable[str], shares: Sequence[float], seeds: Sequence[int]) -> list[Planted]:
    """Return the planted sets of all families, each share above 0 and seed."""
    return [Planted(family, share, seed) for family in families for share in shares if share for seed in seeds]


def decorrelated(seeds: Iterable[int]) -> list[Planted]:
    """Return the sets of share 0."""
    return [Planted("none", 0.0, seed) for seed in seeds]


def planted_labels(
    labels: Tensor, planted: tuple[Mechanism, ...], share: float, classes: int, rng: torch.Generator
) -> Labels:
    """Return texture and background labels (N,): those of a planted mechanism are ``labels`` with probability share."""
    same = torch.rand(labels.shape, generator=rng) < share
    both = (torch.randint(classes, labels.shape, generator=rng) for _ in range(2))
    pairs = zip((TEXTURE, BACKGROUND), both, strict=True)
    return Labels(*(torch.where(same & (m in planted), labels, uniform) for m, uniform in pairs))


def painted_digits(planted: Planted, count: int, split: str) -> LabelledImages:
    """Return ``count`` double-colored digits (N, 3, 32, 32) in [-1, 1] with planted colours."""
    glyphs, rng = load_glyphs("digits", split), generator(planted.seed, "planted", split, planted.name)
    copies = -(-count // len(glyphs))
    masks, labels = glyphs.images.repeat(copies, 1, 1, 1)[:count], glyphs.labels.repeat(copies)[:count]
    own = planted_labels(labels, FAMILIES.get(planted.family, ()), planted.share, CLASSES, rng)
    coat, ground = APPEARANCES["double-colored"](own, masks.shape[-1], None, rng)
    return LabelledImages(2 * blend(Layers(masks, coat, ground)) - 1, labels, glyphs.names)


def composed_photos(cgn: Teacher, planted: Planted, count: int) -> LabelledImages:
    """Return ``count`` counterfactuals of a CGN with planted labels."""
    policy = [f"{mechanism}.correlate:{planted.share:g}" for mechanism in FAMILIES.get(planted.family, ())]
    images = compose(cgn, count, policy=policy, seed=planted.seed)
    return LabelledImages(images.images, images.shape_labels, cgn.spec.names)


@dataclass(frozen=True)
class Trained:
    """A classifier, what is planted in it, and its percent correct on decorrelated test images."""

    planted: Planted
    classifier: Classifier
    accuracy: float

    def probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities (B, classes) of images (B, 3, H, W)."""
        return self.classifier(images).softmax(1)


def train_on_digits(planted: Planted, runs: Path) -> Trained:
    """Train a classifier on planted digits in its run folder; one that is there is read."""
    make = partial(painted_digits, planted, BUDGET.images, "train")
    out, test = runs / "digits" / planted.name, painted_digits(decorrelated([0])[0], TEST_IMAGES, "test")
    percent = train_and_test(make, test, BUDGET, out, origin=to_dict(planted), seed=planted.seed, device="cpu")
    return Trained(planted, load_classifier(out), percent)


def train_on_photos(cgn: Teacher, planted: Planted, runs: Path) -> Trained:
    """Train a classifier on a CGN's counterfactuals in its run folder; its test images are decorrelated ones."""
    make, test = partial(composed_photos, cgn, planted, PHOTO_BUDGET.images), Planted("none", 0.0, PHOTO_TEST_SEED)
    out, origin = runs / "photos" / planted.name, {**to_dict(planted), "cgn": cgn.digest}
    images = composed_photos(cgn, test, PHOTO_TEST_IMAGES)
    percent = train_and_test(make, images, PHOTO_BUDGET, out, origin=origin, seed=planted.seed, device="cpu")
    return Trained(planted, load_classifier(out), percent)


class GlyphTeacher:
    """Real test digits in the data set's colours: no generator between the data and the audit.

    Of noise u in N(0, I), three numbers: the rank of the first picks one of the class's glyphs, each equally often; the
    three jitter the class's colour as the data set does.
    """

    size = None
    digest = "double-colored test digits"
    spec = Spec(image_size=32, noise_dim=3, classes=CLASSES, names=DIGITS, tiles=False)

    def __init__(self) -> None:
        glyphs = load_glyphs("digits", "test")
        self.glyphs = [glyphs.images[glyphs.labels == label] for label in range(CLASSES)]
        self.palette = 2 * torch.tensor(DOUBLE_COLORED, dtype=torch.float32) / 255 - 1

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Return glyphs (B, 1, 32, 32) in {0, 1}, or plain colours (B, 3, 32, 32) in [-1, 1]."""
        check_query(self.spec, noise, labels)
        if as_mechanism(mechanism) is Mechanism.SHAPE:
            return self._masks(noise[:, 0], labels)
        shift = OBJECT_SHIFT if mechanism == TEXTURE else 0
        colours = self.palette[(labels - shift) % CLASSES] + 2 * DOUBLE_COLORED_DEVIATION * noise
        return colours.clamp(-1, 1)[..., None, None].repeat(1, 1, 32, 32)

    def _masks(self, noise: Tensor, labels: Tensor) -> Tensor:
        rank = torch.special.ndtr(noise)  # in [0, 1]
        picks = [self._pick(float(r), label) for r, label in zip(rank, labels.tolist(), strict=True)]
        return torch.stack(picks) if picks else torch.empty(0, 1, 32, 32)

    def _pick(self, rank: float, label: int) -> Tensor:
        own = self.glyphs[label]
        return own[min(int(rank * len(own)), len(own) - 1)]
