"""The invariant ensemble: one backbone with a head for shape, one for texture and one for background.

    L = CE(mean_h f_h(x), y) + w sum_h CE(f_h(x'), y'_h)

for a real image x of class y and a counterfactual x' whose mechanism h was drawn from class y'_h (Sauer & Geiger, ICLR
2021, section 4.2): each head learns one mechanism alone, and their mean learns real images. The ensemble's logits are
the mean of its heads' logits.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_CLASSES, Channels, Side
from skdcgn.base.config import EnsembleConfig
from skdcgn.base.contents import Reads, file_reads, value_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.progress import silent
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator, set_seed
from skdcgn.base.tensors import read_tensors
from skdcgn.base.weights import below, check_fit, on_meta
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.classifiers.backbones import NO_WEIGHTS, SMALL, SmallResNet, load_backbone
from skdcgn.classifiers.check import check_logits
from skdcgn.classifiers.schedules import Epochs, step_decay
from skdcgn.data.counterfactuals import CounterfactualStream
from skdcgn.data.folders import as_unit, check_pictures, list_photos
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN, random_crop, read_ahead
from skdcgn.data.reads import photo_reads
from skdcgn.training.loop import Batch, Callback, Method, Step
from skdcgn.training.processes import own_share
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

Backbone = Callable[[], nn.Module]
PREFIX = "ensemble/"  # of the module's tensors in a checkpoint
SAME_CLASSES = "pass real images and counterfactuals of the same classes"
OWN = "callable"  # the name of a user's own backbone in a run's configuration
WORKERS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class EnsembleForm:
    """What a run's ``config.json`` says of the network: backbone, its width, pixels of a side, names of the classes."""

    backbone: str
    width: Channels
    image_size: Side
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES)]


class Ensemble(nn.Module):
    """Class logits (3, B, classes) of the heads, in :class:`Mechanism`'s order, for images (B, 3, S, S) in [-1, 1].

    Args:
        backbone: images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).
        classes: number of classes.
        image_size: S; the number of features is that of one image of this size.
    """

    def __init__(self, backbone: nn.Module, classes: int, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)
        backbone.eval()
        with torch.no_grad():
            features = self.features(torch.zeros(1, 3, image_size, image_size))
        if features.ndim != 2:
            raise UserError(
                f"the backbone's features have shape {tuple(features.shape)}: return (B, D) or (B, D, h, w)"
            )
        self.heads = nn.ModuleDict({m.value: nn.Linear(features.shape[1], classes) for m in Mechanism})

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, D) of images (B, 3, S, S) in [-1, 1]."""
        normal = (images / 2 + 0.5 - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)
        features: Tensor = self.backbone(normal)
        return features.mean((2, 3)) if features.ndim == 4 else features

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return torch.stack([head(features) for head in self.heads.values()])


class TrainEnsemble(Method):
    """One step; the batch holds ``images`` and ``labels``, ``counterfactuals`` and a label for each mechanism's name.

    Real images and counterfactuals go through the network in one batch.
    """

    def __init__(self, config: EnsembleConfig, ensemble: Ensemble) -> None:
        self.config = config
        optimizer = torch.optim.SGD(
            ensemble.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay
        )
        super().__init__({"ensemble": ensemble}, {"ensemble": optimizer})

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        ensemble, real = self.modules["ensemble"].train(), len(batch["labels"])
        if self.config.freeze_norms:
            freeze_norms(ensemble)
        logits = ensemble(torch.cat([batch["images"], batch["counterfactuals"]]))  # (3, B + B', classes)
        losses = {"real": F.cross_entropy(logits[:, :real].mean(0), batch["labels"])}
        for head, mechanism in zip(logits[:, real:], Mechanism, strict=True):
            losses[mechanism.value] = F.cross_entropy(head, batch[mechanism.value])
        self.descend("ensemble", losses["real"] + self.config.weight * sum(losses[m.value] for m in Mechanism))
        correct = (logits[:, :real].mean(0).argmax(1) == batch["labels"]).float().mean()
        return {**{name: loss.item() for name, loss in losses.items()}, "accuracy": 100 * correct.item()}


def freeze_norms(module: nn.Module) -> None:
    """Let every batch norm use its running statistics and keep them; scale and offset still learn."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.eval()


def train_ensemble(
    real: Path,
    source: CounterfactualStream,
    config: EnsembleConfig,
    out: Path,
    *,
    backbone: Backbone | None = None,
    seed: int = 0,
    workers: int = WORKERS,
    device: str = "auto",
    extend: bool = False,
    track: str | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> Ensemble:
    """Train the ensemble in the run folder ``out``; resumes where it was killed.

    Args:
        real: folder of real images, one sub-folder per class: ImageNet's ``train``. The sub-folders, sorted, are the
            classes that the counterfactuals' labels count.
        source: of counterfactuals (:mod:`skdcgn.data.counterfactuals`).
        backbone: returns images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).
            Default: the one that the configuration names.
        workers: threads that decode; their number does not change the result.
        extend: continue a run in ``out`` that has fewer epochs and is otherwise the same.
        track: ``tensorboard`` or ``wandb``, to log there too.

    Raises:
        UserError: other classes on one side than on the other, or whatever the folder, source and backbone raise.
    """
    photos = list_photos(real)
    source = source.numbered_as(photos.classes(real), SAME_CLASSES)
    identity = {**to_dict(config), "seed": seed, "names": list(photos.names)}
    if backbone:
        identity["backbone"] = OWN
    reads = {
        **photo_reads("images", real, photos),
        **value_reads("counterfactuals", source.origin, "the counterfactuals"),
        **backbone_reads(config),
    }
    folder = RunFolder(out, identity, reads=reads, extend=extend)
    check_pictures(photos.files, silent)
    set_seed(seed)
    network = backbone() if backbone else load_backbone(config.backbone, width=config.width, weights=config.weights)
    method = TrainEnsemble(config, Ensemble(network, len(photos.names), config.image_size))
    epochs = Epochs(len(photos.files), config.batch_size, config.epochs, seed)
    with ThreadPoolExecutor(workers) as pool:
        train(
            method,
            batches(photos, source, epochs, config.image_size, pool),
            folder,
            steps=epochs.steps,
            seed=seed,
            schedule=step_decay(config.decay, config.epochs, every=config.decay_epochs),
            save_every=config.save_every,
            callbacks=callbacks,
            device=device,
            track=track,
        )
    return cast(Ensemble, method.modules["ensemble"])


def backbone_reads(config: EnsembleConfig) -> Reads:
    """Return the contents of the file of the backbone's initial weights."""
    return file_reads("weights", None if config.weights == NO_WEIGHTS else config.weights)


def batches(
    photos: PhotoFiles, source: CounterfactualStream, epochs: Epochs, size: int, pool: ThreadPoolExecutor
) -> Callable[[int], Batch]:
    """Return the batch of each step: real images of ``size`` pixels a side and counterfactuals."""
    seed = epochs.seed

    def begin(step: int) -> list[Future[Tensor]]:
        epoch = epochs.epoch(step)
        return [
            pool.submit(random_crop, photos.files[row], size, generator(seed, "crop", epoch, row))
            for row in epochs.rows(step).tolist()
        ]

    read = read_ahead(begin, epochs.steps)

    def batch_at(step: int) -> Batch:
        counterfactuals = source.at(step)
        share = own_share(torch.arange(len(counterfactuals)))
        return {
            "images": as_unit(read(step)),
            "labels": photos.labels[epochs.rows(step)],
            "counterfactuals": resize_and_mirror(counterfactuals.images, size, generator(seed, "mirror", step))[share],
            "shape": counterfactuals.shape_labels[share],
            "texture": counterfactuals.texture_labels[share],
            "background": counterfactuals.background_labels[share],
        }

    return batch_at


def resize_and_mirror(images: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Resize images (B, 3, H, W) in [-1, 1] to ``size``, with antialiasing, and mirror half of them."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(-1, 1)
    mirrored = (torch.rand(len(images), generator=rng) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images).cpu()


def read_ensemble_form(folder: Path) -> EnsembleForm:
    """Return the form of the ensemble in a run folder; raise UserError if there is none."""
    return read_record(folder / "config.json", EnsembleForm, "name a run folder that skdcgn ensemble wrote")


def load_ensemble(folder: Path, backbone: Backbone | None = None) -> tuple[Ensemble, tuple[str, ...]]:
    """Load the ensemble of a run folder and the names of its classes.

    Args:
        backbone: the one that it was trained with, if that was the user's own.

    Raises:
        UserError: no ensemble there, or a backbone that does not fit.
    """
    form, file = read_ensemble_form(folder), folder / "checkpoint.safetensors"
    if form.backbone == OWN and backbone is None:
        raise UserError(f"{folder} was trained on a backbone of your own: pass it to load_ensemble")
    state = below(read_tensors(file)[0], PREFIX)
    if form.backbone == SMALL and backbone is None:  # before its features take memory
        check_fit(
            on_meta(SmallResNet, form.width), below(state, "backbone."), file, f"a backbone of width {form.width}"
        )
    network = backbone() if backbone else load_backbone(form.backbone, width=form.width, weights=NO_WEIGHTS)
    ensemble = Ensemble(network, len(form.names), form.image_size)
    ensemble.load_state_dict(check_fit(ensemble, state, file, "an ensemble of its classes on this backbone"))
    check_logits(ensemble, form.image_size, file)
    return ensemble.eval(), form.names
