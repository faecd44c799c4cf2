"""The classifier that every training set is judged by: the small CNN and recipe of Sauer & Geiger (2021).

Adadelta, rate x 0.7 per epoch. Biased, teacher, student and oracle get the same number of images and epochs.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, read_tensors
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.data.appearances import Dataset
from skdcgn.training.loop import Batch, Callback, Method, Schedule, Step
from skdcgn.training.processes import own_share
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train


class Classifier(nn.Module):
    """Class logits (B, classes) for images (B, 3, H, W) in [-1, 1].

    The published layers; the first ReLU follows the max-pool, which gives the same numbers with a quarter of the work.
    The last pool takes what the published one leaves of images larger than 32 x 32; of those it leaves one number.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 32, 5, padding=2),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(7),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def start_by_he(self) -> None:
        """Draw the convolutions' weights so that activations keep their size (He et al. 2015, Eq. 10).

        PyTorch's own shrink them by more than half at each of four layers: a thousand steps and more went by before the
        loss moved at all, and how many was a matter of the seed.
        """
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.body(images.contiguous(memory_format=torch.channels_last))))


class Classify(Method):
    """One step of cross-entropy; the batch holds ``images`` and ``labels``."""

    def __init__(self, config: ClassifyConfig, classes: int = 10) -> None:
        classifier = Classifier(classes)
        if config.he_init:
            classifier.start_by_he()
        optimizer = torch.optim.Adadelta(classifier.parameters(), lr=config.learning_rate)
        super().__init__({"classifier": classifier}, {"classifier": optimizer})

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        logits = self.modules["classifier"].train()(batch["images"])
        loss = F.cross_entropy(logits, batch["labels"])
        self.descend("classifier", loss)
        correct = (logits.argmax(1) == batch["labels"]).float().mean()
        return {"loss": loss.item(), "accuracy": 100 * correct.item()}


def classify(
    data: Dataset,
    config: ClassifyConfig,
    out: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    origin: Any = None,
    extend: bool = False,
    track: str | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> Classifier:
    """Train the classifier on ``data`` in the run folder ``out``; resumes where it was killed.

    Args:
        data: images (N, 3, H, W) in [-1, 1] and labels; each epoch visits all, in an order of its own.
        origin: names the data, as JSON values, in the run's digest.
        extend: continue a run in ``out`` that differs in having fewer epochs alone.
        track: ``tensorboard`` or ``wandb``, to log there too.
    """
    classes, size = int(data.labels.max()) + 1, data.images.shape[-1]
    told = {"seed": seed, "origin": origin, "classes": classes, "image_size": size}
    folder = RunFolder(out, {**to_dict(config), **told}, extend=extend)
    torch.manual_seed(seed)
    method = Classify(config, classes)
    per_epoch = -(-len(data.labels) // config.batch_size)

    def batch_at(step: int) -> Batch:
        epoch, index = divmod(step, per_epoch)
        rows = own_share(epoch_order(len(data.labels), seed, epoch)[index * config.batch_size :][: config.batch_size])
        return {"images": data.images[rows], "labels": data.labels[rows]}

    train(
        method,
        batch_at,
        folder,
        steps=per_epoch * config.epochs,
        seed=seed,
        schedule=rate(config),
        save_every=config.save_every,
        callbacks=callbacks,
        device=device,
        track=track,
    )
    return cast(Classifier, method.modules["classifier"])


def rate(config: ClassifyConfig) -> Schedule:
    """The published rate, times ``decay`` per epoch; with a ``cooldown`` it then falls linearly to zero.

    At Adadelta's full rate the last steps of a small budget decide: accuracy differed by ten points between draws.
    """

    def schedule(progress: float) -> float:
        stepped = config.decay ** int(progress * config.epochs + 1e-9)
        left = 1 - progress
        return stepped * (left / config.cooldown if left < config.cooldown else 1.0)

    return schedule


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order (count,) in which an epoch visits the rows."""
    return torch.randperm(count, generator=generator(seed, "epoch", epoch))


def load_classifier(folder: Path) -> Classifier:
    """Load the classifier of a run folder; raise UserError if there is none."""
    state, _ = read_tensors(folder / "checkpoint.safetensors")
    weights = {k.removeprefix("classifier/"): v for k, v in state.items() if k.startswith("classifier/")}
    classifier = Classifier(int(read_json(folder / "config.json").get("classes", 10)))
    try:
        classifier.load_state_dict(weights)
    except RuntimeError:
        raise UserError(f"{folder} is not a classifier's run folder: its weights have other names") from None
    return classifier.eval()


def accuracy(classifier: Classifier, data: Dataset) -> float:
    """Percent of ``data`` that the classifier gets right."""
    return 100 * float((predict(classifier, data.images) == data.labels).float().mean())


def predict(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the most likely class (N,) of images (N, 3, H, W), on the CPU."""
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.inference_mode():
        return torch.cat([classifier(part.to(device)).argmax(1).cpu() for part in images.split(500)])


Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> classes (B,) int64
