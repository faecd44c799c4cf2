"""Distances between two sets of images: features of an extractor, then statistics, then numbers.

Each set passes the extractor once; the statistics are those of :mod:`skdcgn.metrics`.
"""

import math
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.records import finite
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes, in_order_of
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.scores import NOT_MEASURED
from skdcgn.features.extractors import Extractor, Features, Images
from skdcgn.metrics.distances import (
    density_coverage,
    frechet_distance,
    intra_class_frechet,
    kernel_distance,
    precision_recall,
)
from skdcgn.metrics.moments import Moments, Predictions
from skdcgn.metrics.pixels import PairAgreement, class_diversity, pair_agreement
from skdcgn.pairs.manifest import HELD_OUT
from skdcgn.pairs.stored import StoredPairs

NEIGHBOUR_IMAGES = 5000


@dataclass(frozen=True)
class Measurement:
    """A number and what it depends on.

    Args:
        metric: its name.
        value: the number.
        extractor: name of the extractor.
        digest: sha256 of the extractor's weights.
        resizer: how the extractor resizes images.
        real: number of real images; 0 for a metric that needs none.
        generated: number of generated images.
        seed: of the random subsets; None for a metric without any.
        deviation: standard deviation over the subsets; None for a metric without any.
        by_class: the number of each class, for a metric that is a mean over classes.
    """

    metric: str
    value: float
    extractor: str
    digest: str
    resizer: str
    real: int
    generated: int
    seed: int | None = None
    deviation: float | None = None
    by_class: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; numbers that are not finite become None."""
        by_class = None if self.by_class is None else [finite(value) for value in self.by_class]
        deviation = None if self.deviation is None else finite(self.deviation)
        return {**asdict(self), "value": finite(self.value), "deviation": deviation, "by_class": by_class}

    def __str__(self) -> str:
        deviation = "" if self.deviation is None or not math.isfinite(self.deviation) else f" +- {self.deviation:.3g}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        counts = f"{self.generated:,} generated" + (f", {self.real:,} real" if self.real else "")
        origin = f"{self.extractor}@{self.digest[:8]}, {self.resizer}, {counts}{seed}"
        value = f"{self.value:.4g}" if math.isfinite(self.value) else NOT_MEASURED
        return f"{self.metric} {value}{deviation} ({origin})"


def _measurement(
    extractor: Extractor, metric: str, value: float, real: int, generated: int, **more: Any
) -> Measurement:
    return Measurement(metric, value, extractor.name, extractor.digest, extractor.resizer, real, generated, **more)


def feature_moments(extractor: Extractor, images: Images) -> Moments:
    """Return the moments of the features of images, a tensor or batches; memory is that of one batch."""
    return reduce(add, (Moments.of(part.features) for part in extractor.stream(images)))


def frechet(extractor: Extractor, real: Images, generated: Images) -> Measurement:
    """Frechet distance of images (N, 3, H, W) in [-1, 1], a tensor or batches; memory is that of one batch."""
    first, second = feature_moments(extractor, real), feature_moments(extractor, generated)
    return _measurement(extractor, "frechet_distance", frechet_distance(first, second), first.count, second.count)


def compare_images(
    extractor: Extractor,
    real: LabelledImages,
    generated: LabelledImages,
    *,
    seed: int = 0,
    neighbour_images: int = NEIGHBOUR_IMAGES,
) -> dict[str, Measurement]:
    """Return all metrics of generated images against real ones, by name.

    Args:
        extractor: see :func:`skdcgn.features.extractors.load_extractor`.
        real: images (N, 3, H, W) in [-1, 1] and labels (N,).
        generated: images (M, 3, H, W) in [-1, 1] and the labels (M,) that they were generated for, in the order of the
            real images' classes.
        seed: of the random subsets for the kernel distance and for the nearest neighbours.
        neighbour_images: size of the random subset of either set for precision, recall, density and coverage, whose
            time grows with its square.

    Raises:
        UserError: fewer images than a metric needs: two of every class, six in all.
    """
    sets = extractor.gather(real.images), extractor.gather(generated.images)
    measurements = (
        *_distances(extractor, sets, seed),
        *_neighbours(extractor, sets, seed, neighbour_images),
        *_class_means(extractor, sets, (real.labels, generated.labels)),
        *_inception_score(extractor, sets[1]),
    )
    return {measurement.metric: measurement for measurement in measurements}


def compare_cgn(
    cgn: Teacher, extractor: Extractor, real: LabelledImages, *, n: int = 10_000, seed: int = 0
) -> dict[str, Measurement]:
    """Return all metrics of ``n`` counterfactuals of a CGN against real, decorrelated images of the same classes."""
    own = Classes.of("the CGN", cgn.spec)
    real = real.numbered_as(own, "the set of real images", "pass real images of the CGN's classes")
    counterfactuals = compose(cgn, n, seed=seed)
    generated = LabelledImages(counterfactuals.images, counterfactuals.shape_labels, own.names, own.count)
    return compare_images(extractor, real, generated, seed=seed)


def _distances(extractor: Extractor, sets: tuple[Features, Features], seed: int) -> list[Measurement]:
    real, generated = (part.features for part in sets)
    counts = len(real), len(generated)
    kernel = kernel_distance(real, generated, seed=seed)
    frechet = frechet_distance(Moments.of(real), Moments.of(generated))
    return [
        _measurement(extractor, "frechet_distance", frechet, *counts),
        _measurement(extractor, "kernel_distance", kernel.value, *counts, seed=seed, deviation=kernel.deviation),
    ]


def _neighbours(extractor: Extractor, sets: tuple[Features, Features], seed: int, images: int) -> list[Measurement]:
    rng = generator(seed, "neighbours")
    real, generated = (part.features[torch.randperm(len(part.features), generator=rng)[:images]] for part in sets)
    numbers = {**precision_recall(real, generated)._asdict(), **density_coverage(real, generated)._asdict()}
    counts = len(real), len(generated)
    return [_measurement(extractor, name, value, *counts, seed=seed) for name, value in numbers.items()]


def _class_means(
    extractor: Extractor, sets: tuple[Features, Features], labels: tuple[Tensor, Tensor]
) -> list[Measurement]:
    classes = int(torch.cat(labels).max()) + 1
    real, generated = ((part.features, part_labels) for part, part_labels in zip(sets, labels, strict=True))
    numbers = {
        "intra_class_frechet": intra_class_frechet(real, generated, classes),
        "diversity": class_diversity(*generated, classes) / class_diversity(*real, classes),
    }
    counts = len(labels[0]), len(labels[1])
    return [
        _measurement(extractor, name, float(values.mean()), *counts, by_class=tuple(values.tolist()))
        for name, values in numbers.items()
    ]


def _inception_score(extractor: Extractor, generated: Features) -> list[Measurement]:
    if generated.probabilities is None:
        return []
    score = Predictions.of(generated.probabilities).inception_style
    return [_measurement(extractor, "inception_style_score", score, 0, len(generated.features))]


def compare_with_pairs(student: Teacher, pairs: Path) -> dict[str, PairAgreement]:
    """Compare a student with its teacher's held-out answers, shard by shard: L1, PSNR and SSIM by mechanism.

    Args:
        student: generates at the pairs' noise and labels; the teacher is not queried.
        pairs: folder that :func:`skdcgn.pairs.query.query_all` wrote.
    """
    return {mechanism.value: _agreement(student, mechanism, pairs / mechanism / HELD_OUT) for mechanism in Mechanism}


def _agreement(student: Teacher, mechanism: Mechanism, folder: Path) -> PairAgreement:
    pairs = StoredPairs(folder, mechanism=mechanism, purpose=HELD_OUT)
    own = Classes.of(folder, pairs.spec)
    cgn = in_order_of(own, student, "the CGN", "pass the pairs of its own teacher by --pairs")
    batches = ((draw(cgn, mechanism, noise, labels), images) for noise, labels, images in pairs)
    return pair_agreement(batches, mechanism.low)
