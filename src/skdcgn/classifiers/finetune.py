"""The training of a cure: a few steps of a user's own network on real pictures mixed with counterfactuals.

    L = (CE(f(x), y) + w CE(f(x'), y'_shape)) / (1 + w)

for a real picture x of class y and a counterfactual x' of shape y'_shape, each CE the mean of -log p over its images,
with p the classifier's probability among the classes that it decides among. Of ``last`` layers, the linear layer that
decides learns, as in last-layer retraining (Kirichenko et al., ICLR 2023), and all else stays, in evaluation mode; of
``all``, batch norms keep their statistics.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.cure_config import CureConfig, Trained
from skdcgn.base.errors import UserError
from skdcgn.classifiers.answers import prediction
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.ensemble import freeze_norms
from skdcgn.classifiers.photo_batches import resize_and_mirror
from skdcgn.classifiers.sources import MeanOfHeads
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import in_batches, middle_crop, random_crop, resized
from skdcgn.training.loop import Batch, Method, Step

RATES = {Trained.LAST: 1e-2, Trained.ALL: 4e-3}
LEAST_AREA = 0.35  # of a random crop
LEAST = 1e-12  # of a probability whose logarithm is taken
AT_ONCE = 64  # pictures that are classified at once


@dataclass(frozen=True)
class Reading:
    """How pictures become images: ``size`` pixels of a side; ``crops``: random crops, mirrored, in training."""

    size: int
    crops: bool

    def train(self, file: str, rng: torch.Generator) -> Tensor:
        """Return a picture as (3, S, S) uint8 for training."""
        return random_crop(file, self.size, rng, LEAST_AREA) if self.crops else read_picture(Path(file), self.size)

    def test(self, file: str) -> Tensor:
        """Return a picture as (3, S, S) uint8 for a test."""
        return middle_crop(file, self.size) if self.crops else read_picture(Path(file), self.size)

    def counterfactuals(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return counterfactuals (B, 3, H, W) in the size of pictures, half of them mirrored if pictures are."""
        return resize_and_mirror(images, self.size, rng) if self.crops else resized(images, self.size).cpu()


class FineTune(Method):
    """One step; the batch holds ``images`` and ``labels``, and ``counterfactuals`` with labels ``shape``."""

    def __init__(self, classifier: AnyClassifier, layers: Trained, config: CureConfig) -> None:
        self.classifier, self.weight = classifier, config.weight
        self.network = cast(nn.Module, classifier.module)
        self.trained = last_layer(classifier) if layers is Trained.LAST else self.network
        self.network.requires_grad_(False)
        learning = list(self.trained.requires_grad_(True).parameters())
        rate = config.learning_rate or RATES[layers]
        optimizer = torch.optim.AdamW(learning, rate, weight_decay=config.weight_decay)
        super().__init__({"trained": self.trained}, {"trained": optimizer}, {"network": self.network})

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        self.network.eval()
        freeze_norms(self.trained.train())
        real = len(batch["labels"])
        answers = log_probabilities(self.classifier, torch.cat([batch["images"], batch["counterfactuals"]]))
        losses = F.nll_loss(answers[:real], batch["labels"]), F.nll_loss(answers[real:], batch["shape"])
        self.descend("trained", (losses[0] + self.weight * losses[1]) / (1 + self.weight))
        correct = (answers[:real].argmax(1) == batch["labels"]).float().mean()
        return {"real": losses[0].item(), "shape": losses[1].item(), "accuracy": 100 * correct.item()}


def last_layer(classifier: AnyClassifier) -> nn.Module:
    """Return the part of a network that decides: its last linear layer with an output per class, an ensemble's heads.

    Raises:
        UserError: there is none.
    """
    network, outputs = classifier.module, classifier.outputs
    if isinstance(network, MeanOfHeads):
        return network.ensemble.heads
    layers = [part for part in cast(nn.Module, network).modules() if isinstance(part, nn.Linear)]
    deciding = [part for part in layers if part.out_features == outputs]
    if not deciding:
        raise UserError(f"{classifier.name} has no nn.Linear of {outputs} outputs: pass --layers all")
    return deciding[-1]


def log_probabilities(classifier: AnyClassifier, images: Tensor) -> Tensor:
    """Return log p (B, K) of images (B, 3, H, W) in [-1, 1], through which gradients flow to the network."""
    answer: Tensor = prediction(cast(nn.Module, classifier.module)(classifier.inputs(images)))
    values = answer.float()
    if values.ndim == 4:
        values = values.flatten(1)
    if classifier.matrix is None:
        return values.clamp_min(LEAST).log() if classifier.soft else values.log_softmax(1)
    shares = values if classifier.soft else values.softmax(1)
    return (shares @ classifier.matrix.T.to(shares)).clamp_min(LEAST).log().log_softmax(1)


def photo_accuracy(classifier: AnyClassifier, photos: PhotoFiles, reading: Reading, pool: Executor) -> float:
    """Return the percent of pictures that the classifier gets right."""
    right = [
        (classifier.probabilities(as_unit(images)).argmax(1) == photos.labels[rows]).sum()
        for rows, images in in_batches(photos.files, reading.test, AT_ONCE, pool)
    ]
    return 100 * int(torch.stack(right).sum()) / len(photos)
