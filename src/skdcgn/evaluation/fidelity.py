"""Fidelity: agreement of a student with held-out answers of its teacher."""

from collections.abc import Iterator
from math import isnan
from pathlib import Path

from torch import Tensor

from skdcgn.base.progress import Watch, log_progress
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.evaluation.scores import Diversity, PixelL1
from skdcgn.metrics.pixels import class_diversity, label_means, paired_l1
from skdcgn.pairs.manifest import HELD_OUT, TRAIN
from skdcgn.pairs.stored import StoredPairs, read_pairs

MEAN_PAIRS = 50_000  # training pairs, of a mechanism, whose mean by class is compared


def fidelity(
    student: Teacher, pairs: Path, teacher: Teacher | None = None, *, watch: Watch = log_progress
) -> tuple[dict[str, PixelL1], dict[str, Diversity]]:
    """Compare the student with held-out pairs, by mechanism.

    Args:
        student: generates at the pairs' noise and labels.
        pairs: folder that :func:`skdcgn.pairs.query.query_all` wrote.
        teacher: is queried again if the pairs store no images.
        watch: is told of the training pairs as they are read.

    Returns:
        Pixel L1 to the teacher's answers, of the student and of the mean training image of each class (of the first
        ``MEAN_PAIRS`` pairs), which is the best that a student can do without its noise; and the diversity within a
        class of both sets of images.
    """
    l1, diversity, classes = {}, {}, student.spec.classes
    for mechanism in Mechanism:
        noise, labels, images = read_pairs(pairs / mechanism / HELD_OUT, teacher, mechanism=mechanism, purpose=HELD_OUT)
        train = StoredPairs(pairs / mechanism / TRAIN, teacher, mechanism=mechanism, purpose=TRAIN)
        means = label_means(_first_pairs(train, mechanism, watch), (classes, *images.shape[1:]))
        outputs = draw(student, mechanism, noise, labels)
        l1[mechanism.value] = PixelL1(paired_l1(outputs, images), paired_l1(means[labels], images))
        diversity[mechanism.value] = Diversity(*(mean_diversity(x, labels, classes) for x in (images, outputs)))
    return l1, diversity


def _first_pairs(train: StoredPairs, mechanism: Mechanism, watch: Watch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of the first ``MEAN_PAIRS`` pairs, shard by shard."""
    total = min(len(train), MEAN_PAIRS)
    tell, done = watch(f"compare {mechanism}", total), 0
    for _, labels, images in train:
        yield images[: total - done], labels[: total - done]
        done = min(done + len(labels), total)
        tell(done)
        if done == total:
            return


def mean_diversity(images: Tensor, labels: Tensor, classes: int) -> float | None:
    """Return the mean over classes of the mean pairwise L1 within a class; None if no class has two images."""
    mean = float(class_diversity(images, labels, classes).nanmean())
    return None if isnan(mean) else mean
