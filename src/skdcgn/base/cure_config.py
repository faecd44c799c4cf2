"""The configuration of a cure. No torch here."""

from enum import StrEnum

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Batch, Count, Rate, Weight
from skdcgn.base.config import STRICT, option


class Trained(StrEnum):
    """Layers that a cure trains: ``last``, the linear layer that decides, or ``all``."""

    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, config=STRICT)
class CureConfig:
    """Training of a cure; its loss is stated in :mod:`skdcgn.classifiers.finetune`."""

    steps: Count = option(1000, "training steps")
    batch_size: Batch = option(16, "real pictures per step")
    counterfactuals: Batch = option(64, "counterfactuals per step")
    weight: Weight = option(1.0, "weight of the loss on counterfactuals")
    learning_rate: Rate | None = option(None, "AdamW learning rate; default: 1e-2 of the last layer, 4e-3 of all")
    weight_decay: Weight = option(1e-4, "AdamW weight decay")
    save_every: Count = option(100, "steps between checkpoints")
