"""A first look at a black box, before its budget is spent: does it answer the same question twice alike?

A student learns images as a function of (u, y). If the answers to one (u, y) differ, the L1 distance makes it learn
their median, pixel by pixel, and the L2 distance their mean: a blur of what the black box draws.
"""

import logging

from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher

logger = logging.getLogger(__name__)
ROWS, PAID_ROWS = 16, 4  # asked twice; where the second answer is paid too
LEVELS = 1.01  # grey levels of 256 that two roundings of one image may differ by


def rows_to_repeat(access: Access) -> int:
    """Return how many rows are asked twice: 16, or 4 where a repeated query is paid again."""
    return PAID_ROWS if access.paid and not access.idempotent else ROWS


def look_twice(teacher: Teacher, mechanism: Mechanism, noise: Tensor, labels: Tensor, *, noisy: bool) -> None:
    """Ask a black box the same question twice and compare the answers.

    Args:
        teacher: the black box; its answers are checked.
        mechanism: that is asked for.
        noise, labels: (B, Z) and (B,) int64, :func:`rows_to_repeat` of them.
        noisy: whether differing answers are accepted, with a warning.

    Raises:
        UserError: the answers differ by more than a grey level of 256 and ``noisy`` is false, or are no images.
    """
    first, second = (draw(teacher, mechanism, noise, labels, batch_size=len(labels)) for _ in range(2))
    compare_answers(first, second, mechanism, noisy=noisy)
    warn_of_looks(first, mechanism)


def compare_answers(first: Tensor, second: Tensor, mechanism: Mechanism, *, noisy: bool) -> None:
    """Raise UserError if two answers (B, C, H, W) to one question differ; with ``noisy`` log a warning instead."""
    differences = 255 / (1 - mechanism.low) * (first.float() - second.float()).abs()
    if float(differences.max()) <= LEVELS:
        return
    line = (
        f"the black box is not deterministic: asked twice for the same {len(first)} {mechanism} images, it differs by "
        f"{float(differences.mean()):.3g} of 256 grey levels on average, {float(differences.max()):.3g} at most"
    )
    if not noisy:
        raise UserError(f"{line}: fix its random seed, or pass --noisy to learn the average of its answers")
    logger.warning(f"{line}; the student learns the median of its answers with the L1 distance, the mean with L2")


def warn_of_looks(images: Tensor, mechanism: Mechanism) -> None:
    """Log a warning for answers (B, C, H, W) that are in range and probably wrong.

    Pictures without a value below 0 are brighter than grey everywhere, or lie on the scale from 0 to 1. Images that are
    all alike depend on neither noise nor label.
    """
    least, greatest = map(float, images.aminmax())
    if mechanism is not Mechanism.SHAPE and least >= 0 and greatest > least:
        logger.warning(
            f"the {mechanism} of the black box runs from {least:.3g} to {greatest:.3g}, never dark: if black "
            "is 0 there and not -1, let it return 2 * images - 1"
        )
    if len(images) > 1 and bool((images == images[:1]).all()):
        logger.warning(
            f"the black box drew one {mechanism} for {len(images)} different questions: check that it uses noise and "
            "labels"
        )
