"""A guard against collapse: a student that draws one picture per class for every noise."""

from collections.abc import Callable

import torch

from skdcgn.base.config import Distance
from skdcgn.base.errors import TrainingStoppedError
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.metrics.pixels import class_diversity
from skdcgn.pairs.stored import Pairs, StoredPairs
from skdcgn.students.generator import StudentGenerator
from skdcgn.students.start import first_of_each_class
from skdcgn.training.loop import Callback, Record

PER_CLASS = 16
GUARD_AFTER = 0.5  # of the run
COLLAPSED = 0.02  # of the teacher's diversity
CONSTANT = 0.02  # diversity below which a teacher itself draws one picture


def guard_pairs(pairs: StoredPairs) -> Pairs:
    """Return ``PER_CLASS`` pairs of each class."""
    rows = first_of_each_class(pairs.labels, PER_CLASS * len(pairs.labels.unique()))
    return Pairs(pairs.noise[rows], pairs.labels[rows], pairs.images(rows))


def collapse_guard(student_now: Callable[[], StudentGenerator], masks: Distance, pairs: Pairs, spec: Spec) -> Callback:
    """Stop in the second half of a run if a class has lost the diversity that its teacher has in ``pairs``.

    Args:
        student_now: returns the student as it is, in evaluation mode.
        masks: the pixel loss of masks, which decides what the error recommends.
    """
    noise, labels, images = pairs
    teacher_diversity = class_diversity(images, labels, spec.classes)

    def guard(record: Record) -> None:
        if record.step < GUARD_AFTER * record.total:
            return
        student = student_now()
        device = next(student.parameters()).device
        with torch.no_grad():
            diversity = class_diversity(student(noise.to(device), labels.to(device)).cpu(), labels, spec.classes)
        lost = ((diversity < COLLAPSED * teacher_diversity) & (teacher_diversity > CONSTANT)).nonzero()[:, 0].tolist()
        if lost:
            by_median = student.mechanism is Mechanism.SHAPE and masks is Distance.L1
            raise TrainingStoppedError(
                f"the student draws one {student.mechanism} for every noise of class {lost[0]} at step "
                f"{record.step}: the last good checkpoint is kept; raise the pixel weight or lower the learning rate"
                + (", or let masks be learned by their mean (masks: l2)" if by_median else "")
            )

    return guard
