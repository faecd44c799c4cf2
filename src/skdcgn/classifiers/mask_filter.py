"""The mask filter: a classifier of masks, which accepts those that look like the class they were drawn for.

A generator's labels are noisy: some of its masks look like another class. The filter is trained on a CGN's own masks,
most of which show their class; counterfactuals whose masks it does not accept are drawn again (confident learning,
Northcutt et al. 2021, with a generator that can redraw). It sees no source data.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import Accept
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.classifiers.small_cnn import Classifier, classify
from skdcgn.data.images import LabelledImages

BUDGET = replace(PUBLISHED_TRAINING, images=20_000, epochs=1)
BATCH = 1024
STREAM = "judge"  # names the random generator of the training masks; another name would draw other masks


def train_mask_filter(
    cgn: Teacher, agreement: float, out: Path, *, budget: ClassifyConfig = BUDGET, seed: int = 0, device: str = "auto"
) -> Accept:
    """Train a classifier on a CGN's masks in the run folder ``out``; return which masks (B, 1, H, W) it accepts.

    A mask is accepted if the classifier gives its label (B,) a probability of at least ``agreement``.
    """
    rng = generator(seed, STREAM)
    labels = torch.arange(budget.images) % cgn.spec.classes
    masks = draw(cgn, Mechanism.SHAPE, cgn.spec.sample_noise(len(labels), rng), labels)
    data = LabelledImages(_as_images(masks), labels, cgn.spec.names, cgn.spec.classes)
    classifier = classify(data, budget, out, seed=seed, device=device, origin=cgn.digest)
    return lambda masks, labels: _probability(classifier, masks, labels) >= agreement


def _as_images(masks: Tensor) -> Tensor:
    return (2 * masks - 1).expand(-1, 3, -1, -1)


@torch.inference_mode()
def _probability(classifier: Classifier, masks: Tensor, labels: Tensor) -> Tensor:
    device = classifier.head.weight.device
    parts = [classifier(_as_images(part).to(device)).softmax(1).cpu() for part in masks.split(BATCH)]
    return torch.cat(parts).gather(1, labels[:, None])[:, 0]
