"""Fidelity: how near a student draws to held-out answers of its teacher."""

from pathlib import Path

from skdcgn.cgn.compose import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.metrics.pixels import class_diversity, label_means, paired_l1
from skdcgn.pairs.stored import read_pairs


def fidelity(
    student: Teacher, pairs: Path, teacher: Teacher | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
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
        l1[mechanism.value] = {
            "student": paired_l1(drawn, images),
            "label_mean": paired_l1(means[labels], images),
        }
        diversity[mechanism.value] = {
            name: float(class_diversity(x, labels, student.spec.classes).nanmean())
            for name, x in (("teacher", images), ("student", drawn))
        }
    return l1, diversity
