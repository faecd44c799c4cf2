"""Batches of an ensemble's training: crops of real photographs, and counterfactuals of a CGN or a file."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from skdcgn.base.config import EnsembleConfig
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.schedules import Epochs
from skdcgn.data.counterfactuals import CounterfactualStream, stream_from_cgn, stream_from_file
from skdcgn.data.folders import as_unit
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import read_ahead, resized
from skdcgn.training.loop import Batch
from skdcgn.training.processes import own_share

ReadPicture = Callable[[str, torch.Generator], Tensor]  # file -> (3, S, S) uint8 for training
Prepare = Callable[[Tensor, torch.Generator], Tensor]  # counterfactuals (B, 3, H, W) -> (B, 3, S, S) in [-1, 1]


def open_stream(
    config: EnsembleConfig, *, cgn: Teacher | None = None, images: Path | None = None, seed: int = 0
) -> CounterfactualStream | None:
    """Return the stream of the counterfactuals of a CGN or of a file, None if they weigh nothing.

    Raises:
        UserError: both or neither; ``policy`` or ``shared_noise`` with a file, whose counterfactuals are composed.
    """
    if not config.weight:
        return None
    if (cgn is None) == (images is None):
        raise UserError("pass counterfactuals either by --cgn or by --images")
    if cgn is not None:
        return counterfactual_stream(cgn, config, seed)
    if config.policy or config.shared_noise:
        raise UserError(f"{images} holds composed counterfactuals: pass --policy and --shared-noise to generate")
    return stream_from_file(cast(Path, images), config.counterfactuals, seed=seed)


def counterfactual_stream(cgn: Teacher, config: EnsembleConfig, seed: int) -> CounterfactualStream:
    """Return the stream of the counterfactuals that a configuration asks a CGN for."""
    return stream_from_cgn(
        cgn, config.counterfactuals, policy=config.policy, shared_noise=config.shared_noise, seed=seed
    )


def batches(
    photos: PhotoFiles,
    source: CounterfactualStream | None,
    epochs: Epochs,
    read_picture: ReadPicture,
    prepare: Prepare,
    pool: Executor,
) -> Callable[[int], Batch]:
    """Return the batch of each step, a function of the step alone: real images and, of a source, counterfactuals.

    It holds ``images`` (B, 3, S, S) in [-1, 1] and ``labels`` (B,), and if there is a source ``counterfactuals``
    (B', 3, S, S) and their labels ``shape``, ``texture`` and ``background``, (B',) each.
    """
    seed = epochs.seed

    def begin(step: int) -> list[Future[Tensor]]:
        epoch = epochs.epoch(step)
        return [
            pool.submit(read_picture, photos.files[row], generator(seed, "crop", epoch, row))
            for row in epochs.rows(step).tolist()
        ]

    read = read_ahead(begin, epochs.steps)

    def batch_at(step: int) -> Batch:
        real = {"images": as_unit(read(step)), "labels": photos.labels[epochs.rows(step)]}
        return real | (counterfactual_batch(source, step, prepare, seed) if source else {})

    return batch_at


def counterfactual_batch(source: CounterfactualStream, step: int, prepare: Prepare, seed: int) -> Batch:
    """Return this process's share of the counterfactuals of a step, with their labels by mechanism."""
    counterfactuals = source.at(step)
    share = own_share(torch.arange(len(counterfactuals)))
    return {
        "counterfactuals": prepare(counterfactuals.images, generator(seed, "mirror", step))[share],
        "shape": counterfactuals.shape_labels[share],
        "texture": counterfactuals.texture_labels[share],
        "background": counterfactuals.background_labels[share],
    }


def resize_and_mirror(images: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Resize images (B, 3, H, W) in [-1, 1] to ``size``, with antialiasing, and mirror half of them."""
    images = resized(images, size)
    mirrored = (torch.rand(len(images), generator=rng) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images).cpu()
