"""What a set of images is like beside another: every number with what it depends on.

One pass of the extractor over either set, then statistics, then numbers (:mod:`skdcgn.metrics.distances`).
"""

import math
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose, draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.data.appearances import Dataset
from skdcgn.features.extractors import Extractor, Images, Told
from skdcgn.metrics.distances import (
    density_coverage,
    frechet_distance,
    intra_class_frechet,
    kernel_distance,
    precision_recall,
)
from skdcgn.metrics.moments import Moments, Scores
from skdcgn.metrics.pixels import Paired, class_diversity, paired
from skdcgn.pairs.stored import HELD_OUT, StoredPairs

MOST_NEIGHBOURS = 5000


@dataclass(frozen=True)
class Measured:
    """A number and what it depends on.

    Args:
        metric: its name.
        value: the number.
        extractor: name of the extractor.
        digest: sha256 of the extractor's weights.
        resizer: how the extractor resizes images.
        real: how many real images it was computed from; 0 where it needs none.
        drawn: how many drawn ones.
        seed: of the random subsets; None where nothing is random.
        deviation: standard deviation over the subsets, where there are any.
        by_class: the number of each class, where it is a mean over them.
    """

    metric: str
    value: float
    extractor: str
    digest: str
    resizer: str
    real: int
    drawn: int
    seed: int | None = None
    deviation: float | None = None
    by_class: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; what is not finite is None."""
        told = asdict(self)
        told["value"] = _finite(self.value)
        told["by_class"] = None if self.by_class is None else [_finite(value) for value in self.by_class]
        return told

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" +- {self.deviation:.3g}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        sets = f"{self.drawn:,} drawn" + (f", {self.real:,} real" if self.real else "")
        return (
            f"{self.metric} {self.value:.4g}{spread} ({self.extractor}@{self.digest[:8]}, {self.resizer}, {sets}{seed})"
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def moments(extractor: Extractor, images: Images) -> Moments:
    """Return the moments of the features of images, all or batch by batch; memory is that of one batch."""
    return reduce(add, (Moments.of(told.features) for told in extractor.stream(images)))


def frechet(extractor: Extractor, real: Images, drawn: Images) -> Measured:
    """Frechet distance of images (N, 3, H, W) in [-1, 1], all or batch by batch, however many there are."""
    pair = moments(extractor, real), moments(extractor, drawn)
    return _told(extractor, "frechet_distance", frechet_distance(*pair), pair[0].count, pair[1].count)


def measure(
    extractor: Extractor, real: Dataset, drawn: Dataset, *, seed: int = 0, most: int = MOST_NEIGHBOURS
) -> dict[str, Measured]:
    """Return every number of drawn images beside real ones, by name.

    Args:
        extractor: see :func:`load_extractor`.
        real: images (N, 3, H, W) in [-1, 1] and labels (N,).
        drawn: images (M, 3, H, W) and the labels (M,) they were drawn for.
        seed: of the subsets of the kernel distance, and of those of the nearest neighbours.
        most: how many images of either set, drawn at random, nearest neighbours are looked for in; their time grows
            with its square.

    Raises:
        UserError: fewer images than a number needs: two of every class, six in all.
    """
    seen = extractor.gather(real.images), extractor.gather(drawn.images)
    return {
        told.metric: told
        for told in (
            *_distances(extractor, seen, seed),
            *_neighbours(extractor, seen, seed, most),
            *_by_class(extractor, seen, (real.labels, drawn.labels)),
            *_scores(extractor, seen[1]),
        )
    }


def measure_cgn(
    cgn: Teacher, extractor: Extractor, real: Dataset, *, n: int = 10_000, seed: int = 0
) -> dict[str, Measured]:
    """Return every number of ``n`` counterfactuals of a CGN beside real, decorrelated images; see :func:`measure`."""
    made = compose(cgn, n, seed=seed)
    return measure(extractor, real, Dataset(made.images, made.shape_labels), seed=seed)


def _told(extractor: Extractor, metric: str, value: float, real: int, drawn: int, **more: Any) -> Measured:
    return Measured(metric, value, extractor.name, extractor.digest, extractor.resizer, real, drawn, **more)


def _distances(extractor: Extractor, seen: tuple[Told, Told], seed: int) -> list[Measured]:
    features = seen[0].features, seen[1].features
    counts = len(features[0]), len(features[1])
    kernel = kernel_distance(*features, seed=seed)
    return [
        _told(extractor, "frechet_distance", frechet_distance(*map(Moments.of, features)), *counts),
        _told(extractor, "kernel_distance", kernel.value, *counts, seed=seed, deviation=kernel.deviation),
    ]


def _neighbours(extractor: Extractor, seen: tuple[Told, Told], seed: int, most: int) -> list[Measured]:
    rng = generator(seed, "neighbours")
    real, drawn = (told.features[torch.randperm(len(told.features), generator=rng)[:most]] for told in seen)
    numbers = {**precision_recall(real, drawn)._asdict(), **density_coverage(real, drawn)._asdict()}
    return [_told(extractor, name, value, len(real), len(drawn), seed=seed) for name, value in numbers.items()]


def _by_class(extractor: Extractor, seen: tuple[Told, Told], labels: tuple[Tensor, Tensor]) -> list[Measured]:
    classes = int(torch.cat(labels).max()) + 1
    real, drawn = ((told.features, known) for told, known in zip(seen, labels, strict=True))
    numbers = {
        "intra_class_frechet": intra_class_frechet(real, drawn, classes),
        "diversity": class_diversity(*drawn, classes) / class_diversity(*real, classes),
    }
    return [
        _told(extractor, name, float(values.mean()), *map(len, labels), by_class=tuple(values.tolist()))
        for name, values in numbers.items()
    ]


def _scores(extractor: Extractor, drawn: Told) -> list[Measured]:
    if drawn.probabilities is None:
        return []
    score = Scores.of(drawn.probabilities).inception_style
    return [_told(extractor, "inception_style_score", score, 0, len(drawn.features))]


def compare_with_pairs(student: Teacher, pairs: Path) -> dict[str, Paired]:
    """Compare a student with its teacher's held-out answers, shard by shard: L1, PSNR and SSIM by mechanism.

    Args:
        student: draws at the pairs' noise and labels; the teacher is asked nothing.
        pairs: folder that :func:`skdcgn.pairs.query.query_all` wrote.
    """
    return {
        mechanism.value: paired(
            ((draw(student, mechanism, u, y), images) for u, y, images in StoredPairs(pairs / mechanism / HELD_OUT)),
            mechanism.low,
        )
        for mechanism in Mechanism
    }
