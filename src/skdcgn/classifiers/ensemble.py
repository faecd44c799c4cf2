"""The invariant ensemble: one backbone with a head for shape, one for texture and one for background.

    L = CE(mean_h f_h(x), y) + w sum_h CE(f_h(x'), y'_h)

for a real image x of class y and a counterfactual x' whose mechanism h was drawn from class y'_h (Sauer & Geiger, ICLR
2021, section 4.2): each head learns one mechanism alone, and their mean learns real images. The ensemble's logits are
the mean of its heads' logits. Each CE is a mean over its images.

With one head it is a plain classifier of shapes,

    L = (CE(f(x), y) + w CE(f(x'), y'_shape)) / (1 + w),

whose gradients have the same size whatever w is. At w = 0 no counterfactual is composed or passes the network. E epochs
of B real images a step alone cost as many steps, and as many images a step, as E / 2 epochs of B / 2 real images and
B / 2 counterfactuals.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_CLASSES, Channels, Side
from skdcgn.base.config import EnsembleConfig, Heads, RateSchedule
from skdcgn.base.contents import Reads, file_reads, value_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.progress import silent
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import set_seed
from skdcgn.base.tensors import read_tensors
from skdcgn.base.weights import below, check_fit, on_meta
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.classifiers.backbones import BUNDLED, NO_WEIGHTS, load_backbone, weights_file
from skdcgn.classifiers.check import check_logits
from skdcgn.classifiers.photo_batches import batches, resize_and_mirror
from skdcgn.classifiers.schedules import Epochs, one_cycle, step_decay
from skdcgn.data.counterfactuals import CounterfactualStream
from skdcgn.data.folders import check_pictures, list_photos
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN, random_crop
from skdcgn.data.reads import photo_reads
from skdcgn.training.loop import Batch, Callback, Method, Schedule, Step
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

Backbone = Callable[[], nn.Module]
PREFIX = "ensemble/"  # of the module's tensors in a checkpoint
SAME_CLASSES = "pass real images and counterfactuals of the same classes"
OWN = "callable"  # the name of a user's own backbone in a run's configuration
WHOLE = "ensemble"  # the name of the mean of all heads, and of a head that is alone
LABEL_OF = {Heads.THREE: {m.value: m.value for m in Mechanism}, Heads.ONE: {WHOLE: Mechanism.SHAPE.value}}
"""The mechanism whose label each head learns from a counterfactual."""
WORKERS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class EnsembleForm:
    """What a run's ``config.json`` says of the network: backbone, its width, pixels of a side, classes, heads."""

    backbone: str
    width: Channels
    image_size: Side
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES)]
    heads: Heads = Heads.THREE


class Ensemble(nn.Module):
    """Class logits (H, B, classes) of the heads for images (B, 3, S, S) in [-1, 1].

    Three heads are those of the mechanisms, in :class:`Mechanism`'s order; one is called ``ensemble``.

    Args:
        backbone: images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).
        classes: number of classes.
        image_size: S; the number of features is that of one image of this size.
        heads: three or one.
    """

    def __init__(self, backbone: nn.Module, classes: int, image_size: int, heads: Heads = Heads.THREE) -> None:
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
        self.heads = nn.ModuleDict({name: nn.Linear(features.shape[1], classes) for name in LABEL_OF[heads]})

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (B, D) of images (B, 3, S, S) in [-1, 1]."""
        normal = (images / 2 + 0.5 - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)
        features: Tensor = self.backbone(normal)
        return features.mean((2, 3)) if features.ndim == 4 else features

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return torch.stack([head(features) for head in self.heads.values()])


class TrainEnsemble(Method):
    """One step; the batch holds ``images`` and ``labels`` and, unless the weight is 0, ``counterfactuals`` and a label
    for each mechanism's name.

    Real images and counterfactuals go through the network in one batch.
    """

    def __init__(self, config: EnsembleConfig, ensemble: Ensemble) -> None:
        self.config = config
        if config.freeze_backbone:
            ensemble.backbone.requires_grad_(False)  # no gradient is computed there
        learning = [weights for weights in ensemble.parameters() if weights.requires_grad]
        optimizer = torch.optim.SGD(learning, config.learning_rate, config.momentum, weight_decay=config.weight_decay)
        super().__init__({"ensemble": ensemble}, {"ensemble": optimizer})

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        ensemble, real = self._in_training(), len(batch["labels"])
        images = [batch[name] for name in ("images", "counterfactuals") if name in batch]
        logits = ensemble(torch.cat(images))  # (H, B + B', classes)
        losses = {"real": F.cross_entropy(logits[:, :real].mean(0), batch["labels"])}
        if len(images) > 1:
            for head, label in zip(logits[:, real:], LABEL_OF[self.config.heads].values(), strict=True):
                losses[label] = F.cross_entropy(head, batch[label])
        self.descend("ensemble", self._total(**losses))
        correct = (logits[:, :real].mean(0).argmax(1) == batch["labels"]).float().mean()
        return {**{name: loss.item() for name, loss in losses.items()}, "accuracy": 100 * correct.item()}

    def _in_training(self) -> nn.Module:
        """Return the ensemble, what learns in training mode and what is frozen in evaluation mode."""
        ensemble = self.modules["ensemble"].train()
        if self.config.freeze_norms:
            freeze_norms(ensemble)
        if self.config.freeze_backbone:
            cast(nn.Module, ensemble.backbone).eval()
        return ensemble

    def _total(self, real: Tensor, **counterfactual: Tensor) -> Tensor:
        """L of the module's docstring, of the cross-entropy of real images and those of counterfactuals."""
        total = real + self.config.weight * sum(counterfactual.values())
        return total / (1 + self.config.weight) if self.config.heads is Heads.ONE else total


def freeze_norms(module: nn.Module) -> None:
    """Let every batch norm use its running statistics and keep them; scale and offset still learn."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.eval()


def train_ensemble(
    real: Path,
    source: CounterfactualStream | None,
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
        source: of counterfactuals (:func:`skdcgn.classifiers.photo_batches.open_stream`); not used if their weight is
            0.
        backbone: returns images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).
            Default: the one that the configuration names.
        workers: threads that decode; their number does not change the result.
        extend: continue a run in ``out`` that has fewer epochs and is otherwise the same.
        track: ``tensorboard`` or ``wandb``, to log there too.

    Raises:
        UserError: no source, other classes on one side than on the other, or whatever the folder, source and backbone
            raise.
    """
    photos = list_photos(real)
    source = _numbered(source, config, photos.classes(real))
    identity = {**to_dict(config), "seed": seed, "names": list(photos.names)}
    if backbone:
        identity["backbone"] = OWN
    reads = {
        **photo_reads("images", real, photos),
        **(value_reads("counterfactuals", source.origin, "the counterfactuals") if source else {}),
        **backbone_reads(config),
    }
    folder = RunFolder(out, identity, reads=reads, extend=extend)
    check_pictures(photos.files, silent)
    set_seed(seed)
    network = backbone() if backbone else load_backbone(config.backbone, width=config.width, weights=config.weights)
    method = TrainEnsemble(config, Ensemble(network, len(photos.names), config.image_size, config.heads))
    epochs, size = Epochs(len(photos.files), config.batch_size, config.epochs, seed), config.image_size
    with ThreadPoolExecutor(workers) as pool:
        train(
            method,
            batches(
                photos,
                source,
                epochs,
                lambda file, rng: random_crop(file, size, rng, config.least_area),
                lambda images, rng: resize_and_mirror(images, size, rng),
                pool,
            ),
            folder,
            steps=epochs.steps,
            seed=seed,
            schedule=rate_schedule(config),
            save_every=config.save_every,
            callbacks=callbacks,
            device=device,
            track=track,
        )
    return cast(Ensemble, method.modules["ensemble"])


def _numbered(
    source: CounterfactualStream | None, config: EnsembleConfig, classes: Classes
) -> CounterfactualStream | None:
    """Return the source with the labels of ``classes``, None if counterfactuals weigh nothing."""
    if not config.weight:
        return None
    if source is None:
        raise UserError("the loss on counterfactuals has a weight, and there are none: pass some, or --weight 0")
    return source.numbered_as(classes, SAME_CLASSES)


def rate_schedule(config: EnsembleConfig) -> Schedule:
    """Return the course of the learning rate."""
    if config.schedule is RateSchedule.ONE_CYCLE:
        return one_cycle
    return step_decay(config.decay, config.epochs, every=config.decay_epochs)


def backbone_reads(config: EnsembleConfig) -> Reads:
    """Return the contents of the file of the backbone's initial weights."""
    return file_reads("weights", weights_file(config.backbone, config.weights))


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
    if form.backbone in BUNDLED and backbone is None:  # before its features take memory
        check_fit(
            on_meta(BUNDLED[form.backbone], form.width),
            below(state, "backbone."),
            file,
            f"a backbone of width {form.width}",
        )
    network = backbone() if backbone else load_backbone(form.backbone, width=form.width, weights=NO_WEIGHTS)
    ensemble = Ensemble(network, len(form.names), form.image_size, form.heads)
    ensemble.load_state_dict(check_fit(ensemble, state, file, "an ensemble of its classes on this backbone"))
    check_logits(ensemble, form.image_size, file)
    return ensemble.eval(), form.names
