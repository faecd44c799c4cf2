"""The small CNN of Sauer & Geiger (2021) and its training.

The default recipe is AdamW from He's initial weights, with a rate that rises and falls linearly; theirs is Adadelta,
whose rate falls to 0.7 of itself after each epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_SIDE, ClassCount
from skdcgn.base.config import ClassifyConfig, Optimizer
from skdcgn.base.contents import value_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import set_seed
from skdcgn.base.tensors import read_tensors
from skdcgn.base.weights import below, check_fit, on_meta
from skdcgn.classifiers.check import check_logits
from skdcgn.classifiers.schedules import Epochs, step_decay
from skdcgn.data.images import LabelledImages, TrainingImages
from skdcgn.training.loop import Batch, Callback, Method, Step
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

IMAGES = "the training images"
RATES = {Optimizer.ADAMW: 4e-3, Optimizer.ADADELTA: 1.0}  # of learning, unless the configuration states one
LEAST_SIDE = 25  # pixels: of fewer, no cell is left to pool


@dataclass(frozen=True)
class ClassifierForm:
    """The classes of a classifier, with their names if they have any, and pixels of a side of its images."""

    classes: ClassCount = 10
    image_size: Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)] = 32
    names: tuple[str, ...] = ()


class Classifier(nn.Module):
    """Class logits (B, classes) for images (B, 3, H, W) in [-1, 1].

    The published layers, with the first ReLU after the max-pool: the two commute. Images larger than 32 x 32 leave the
    published average pool as maps of more than one pixel, whose mean the last pool takes.
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
        """Draw the convolutions' weights so that activations keep their size (He et al. 2015, Eq. 10)."""
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.body(images.contiguous(memory_format=torch.channels_last))))


def computes_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AMX or AVX512-BF16), as far as PyTorch can tell."""
    try:
        capabilities = torch.cpu.get_capabilities()
    except AttributeError:  # an older PyTorch
        return False
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _optimizer(config: ClassifyConfig, classifier: Classifier) -> torch.optim.Optimizer:
    rate = config.learning_rate or RATES[config.optimizer]
    if config.optimizer is Optimizer.ADADELTA:
        return torch.optim.Adadelta(classifier.parameters(), lr=rate)
    return torch.optim.AdamW(classifier.parameters(), lr=rate, fused=True)


class Classify(Method):
    """One step of cross-entropy; the batch holds ``images`` and ``labels``."""

    def __init__(self, config: ClassifyConfig, classes: int = 10) -> None:
        classifier = Classifier(classes)
        if config.he_init:
            classifier.start_by_he()
        super().__init__({"classifier": classifier}, {"classifier": _optimizer(config, classifier)})
        self.bf16 = config.bf16 and computes_bf16()

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):  # a GPU computes as ever
            logits = self.modules["classifier"].train()(batch["images"]).float()
        loss = F.cross_entropy(logits, batch["labels"])
        self.descend("classifier", loss)
        correct = (logits.argmax(1) == batch["labels"]).float().mean()
        return {"loss": loss.item(), "accuracy": 100 * correct.item()}


def classify(
    data: TrainingImages,
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
        data: images (N, 3, S, S) in [-1, 1] and labels; each epoch visits all, in a random order. Those of a file
            (:func:`skdcgn.data.counterfactual_file.read_counterfactuals`) are read batch by batch. The run folder keeps
            the number and the names of its classes.
        origin: names the data, as JSON values, in the run's identity; None: the digest of all images and labels.
        extend: continue a run in ``out`` that has fewer epochs and is otherwise the same.
        track: ``tensorboard`` or ``wandb``, to log there too.

    Raises:
        UserError: images of less than ``LEAST_SIDE`` pixels a side, or ``out`` holds another run.
    """
    if data.image_size < LEAST_SIDE:
        raise UserError(f"images of {data.image_size} pixels a side: the classifier takes {LEAST_SIDE} or more")
    form = ClassifierForm(data.classes(out).count, data.image_size, data.names)
    reads = value_reads("images", data.digest if origin is None else origin, IMAGES)
    folder = RunFolder(out, {**to_dict(config), "seed": seed, **to_dict(form)}, reads=reads, extend=extend)
    set_seed(seed)
    method = Classify(config, form.classes)
    epochs = Epochs(len(data.labels), config.batch_size, config.epochs, seed)

    def batch_at(step: int) -> Batch:
        rows = data.rows(epochs.rows(step))
        return {"images": rows.images, "labels": rows.labels}

    train(
        method,
        batch_at,
        folder,
        steps=epochs.steps,
        seed=seed,
        schedule=step_decay(config.decay, config.epochs, warmup=config.warmup, cooldown=config.cooldown),
        save_every=config.save_every,
        callbacks=callbacks,
        device=device,
        track=track,
    )
    return cast(Classifier, method.modules["classifier"])


def load_classifier(folder: Path) -> Classifier:
    """Load the classifier of a run folder; raise UserError if there is none."""
    file = folder / "checkpoint.safetensors"
    state = below(read_tensors(file)[0], "classifier/")
    if not state:
        raise UserError(f"{folder} is not a classifier's run folder: pass one that skdcgn classify wrote")
    classes = read_form(folder).classes
    weights = check_fit(on_meta(Classifier, classes), state, file, f"a classifier of {classes} classes")
    classifier = Classifier(classes)
    classifier.load_state_dict(weights)  # into its own layout in memory
    check_logits(classifier, LEAST_SIDE, file)
    return classifier.eval()


def read_form(folder: Path) -> ClassifierForm:
    """Return the classes and the image size of a classifier's run folder."""
    return read_record(folder / "config.json", ClassifierForm)


def accuracy(classifier: Classifier, data: LabelledImages) -> float:
    """Percent of ``data`` that the classifier gets right."""
    return 100 * float((predict(classifier, data.images) == data.labels).float().mean())


def predict(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the most likely class (N,) of images (N, 3, H, W), on the CPU."""
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.inference_mode():
        return torch.cat([classifier(part.to(device)).argmax(1).cpu() for part in images.split(500)])


Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> classes (B,) int64
