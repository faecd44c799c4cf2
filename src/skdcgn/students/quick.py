"""Quick students: small ones of a few hundred steps on the CPU, by which questions are chosen and looks are taken.

Their sizes depend on the images alone, not on the student that is distilled later, so that pairs stay a function of
(teacher, query configuration, seed).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.seeds import generator, seeded
from skdcgn.cgn.drawer import BATCH
from skdcgn.cgn.mechanism import Spec
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.generator import StudentGenerator
from skdcgn.students.method import Distill
from skdcgn.students.start import first_student
from skdcgn.training.loop import Batch, balanced_rows, decay_after, fit

SHAPE_GRID, PICTURE_GRID = 4, 8  # sides of the first grid, which one block doubles
EMBEDDING = 10  # dimensions of the class embedding of pictures, at most


@dataclass(frozen=True)
class Effort:
    """How much quick students learn and draw; pairs depend on it.

    Args:
        round: questions of an active round, at most.
        round_steps: of each of the two students before a round.
        step: answers between two looks.
        look_steps: of each of the two students that a look compares.
        free: inputs at which these two draw and nothing is asked.
    """

    round: int = 250
    round_steps: int = 300
    step: int = 1000
    look_steps: int = 1500
    free: int = 20_000


DEFAULT_EFFORT = Effort()


def quick_config(spec: Spec) -> DistillConfig:
    """Return the configuration of quick students of images of this size."""
    picture = StudentConfig(
        channels=_channels(spec, 8, PICTURE_GRID),
        grid=_grid(spec, PICTURE_GRID),
        embedding=min(spec.classes, EMBEDDING),
        rank=min(spec.noise_dim, 4),
    )
    shape = StudentConfig(channels=_channels(spec, 14, SHAPE_GRID), grid=_grid(spec, SHAPE_GRID))
    return DistillConfig(shape=shape, texture=picture, background=picture)


def _channels(spec: Spec, width: int, grid: int) -> tuple[int, ...]:
    """Return ``width`` at the first grid and after one block; without the block where it does not divide the image."""
    return (width, width) if spec.image_size % (2 * grid) == 0 else (width,)


def _grid(spec: Spec, grid: int) -> int:
    """Return ``grid`` or, where it does not divide the image, the greatest smaller side that does."""
    return next(side for side in range(grid, 0, -1) if spec.image_size % side == 0)


def quick_student(pairs: StoredPairs, steps: int, seed: int) -> StudentGenerator:
    """Return a student of ``pairs`` after ``steps`` steps, in evaluation mode: a function of its arguments alone."""
    config = quick_config(pairs.spec)
    with seeded(seed, "quick student", pairs.mechanism):
        student = first_student(config, pairs)
        method, rows_of = Distill(config, student), balanced_rows(pairs.labels)

        def batch_at(step: int) -> Batch:
            rows = rows_of(config.batch_size, generator(seed, "quick batch", pairs.mechanism, step))
            return {"noise": pairs.noise[rows], "labels": pairs.labels[rows], "images": pairs.images(rows)}

        for _ in fit(method, batch_at, steps, seed=seed, schedule=decay_after(0.3)):
            pass
    return method.result()


@torch.inference_mode()
def draw_quick(student: StudentGenerator, noise: Tensor, labels: Tensor) -> Tensor:
    """Return the student's images (N, C, H, W) for noise (N, Z) and labels (N,), a batch at a time."""
    parts = zip(noise.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat([student(*part) for part in parts])
