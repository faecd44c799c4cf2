"""Fidelity: how near a student draws to held-out answers of its teacher."""

from math import isnan
from pathlib import Path

from torch import Tensor

from skdcgn.cgn.compose import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.evaluation.scores import Diversity, PixelL1
from skdcgn.metrics.pixels import class_diversity, label_means, paired_l1
from skdcgn.pairs.stored import read_pairs


def fidelity(
    student: Teacher, pairs: Path, teacher: Teacher | None = None
) -> tuple[dict[str, PixelL1], dict[str, Diversity]]:
    """Compare the student with held-out pairs; return pixel L1 and diversity, by mechanism.

    Pixel L1 stands beside that of the label mean (of the training pairs), which is what a student reaches that
    ignores the noise; diversity is the mean pairwise L1 within a class, of the teacher's answers and the student's.
    ``teacher`` is asked again for images that were not kept.
    """
    l1, diversity = {}, {}
    for mechanism in Mechanism:
        noise, labels, images = read_pairs(pairs / mechanism / "held-out", teacher)
        seen = read_pairs(pairs / mechanism / "train", teacher)
        means = label_means(seen.images, seen.labels, student.spec.classes)
        drawn = draw(student, mechanism, noise, labels)
        l1[mechanism.value] = PixelL1(paired_l1(drawn, images), paired_l1(means[labels], images))
        teachers, students = (mean_diversity(x, labels, student.spec.classes) for x in (images, drawn))
        diversity[mechanism.value] = Diversity(teachers, students)
    return l1, diversity


def mean_diversity(images: Tensor, labels: Tensor, classes: int) -> float | None:
    """Return the mean over classes of the mean pairwise L1 within a class; None where no class has two images."""
    mean = float(class_diversity(images, labels, classes).nanmean())
    return None if isnan(mean) else mean
