"""A judge of shapes: which masks look like the class they were drawn for.

A generator's labels are noisy: some of its shapes look like another class. A classifier trained on a CGN's own masks
knows what most masks of a class look like, and finds those that do not; counterfactuals of these are drawn again
(confident learning, Northcutt et al. 2021, with a generator that can redraw). No source data is seen.
"""

from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import Accept, draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.classifiers.small_cnn import Classifier, classify
from skdcgn.data.appearances import Dataset

BUDGET = ClassifyConfig(images=20_000, epochs=1)
BATCH = 1024


def shape_judge(cgn: Teacher, agreement: float, out: Path, *, seed: int = 0, device: str = "auto") -> Accept:
    """Train a classifier on a CGN's masks in the run folder ``out``; return which masks (B, 1, H, W) it accepts.

    A mask is accepted if the classifier gives its label (B,) a probability of at least ``agreement``.
    """
    rng = generator(seed, "judge")
    labels = torch.arange(BUDGET.images) % cgn.spec.classes
    masks = draw(cgn, Mechanism.SHAPE, cgn.spec.sample_noise(len(labels), rng), labels)
    judge = classify(Dataset(_as_images(masks), labels), BUDGET, out, seed=seed, device=device, origin=cgn.digest)
    return lambda masks, labels: _probability(judge, masks, labels) >= agreement


def _as_images(masks: Tensor) -> Tensor:
    return (2 * masks - 1).expand(-1, 3, -1, -1)


@torch.inference_mode()
def _probability(judge: Classifier, masks: Tensor, labels: Tensor) -> Tensor:
    device = judge.head.weight.device
    given = [judge(_as_images(part).to(device)).softmax(1).cpu() for part in masks.split(BATCH)]
    return torch.cat(given).gather(1, labels[:, None])[:, 0]
