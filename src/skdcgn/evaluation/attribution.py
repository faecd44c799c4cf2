"""The effect of one mechanism's label on a classifier, and the four axioms of a CGN's counterfactuals.

An intervention do(y_k := y') gives mechanism k the label y' and keeps its noise, the noise and labels of the other two
mechanisms, and the crops. The counterfactual of a generated image is therefore exact; no abduction is needed. On such
pairs are defined

- *sensitivity* of a classifier to mechanism k: how often it is right, how often its prediction stays, and how often
  its prediction is the new label of k. A classifier of shapes keeps its prediction if texture or background varies.

and the four axioms of counterfactuals (Monteiro et al. 2023; Melistas et al. 2024), for independent mechanisms:

- *effectiveness*: how often a classifier of mechanism j's label predicts the label that j has after do(y_k := y').
  For j = k it shows that the intervention is visible (Monteiro et al.), for j != k that j is unchanged.
- *composition*: mean L1 between an image and the image of the same inputs at a second query (the null intervention of
  Monteiro et al.); 0 for a pure function.
- *minimality*: the counterfactual latent divergence (Sanchez & Tsaftaris 2022; Melistas et al.)
  log(e^P(S' <= d) / 2 + e^P(S >= d) / 2), with d the distance on features from an image to its counterfactual, S those
  to other images whose label of k is the old one, S' to those where it is the new one. It lies in [0, 1]; 0 is best:
  the counterfactual is farther than the old class and nearer than the new class.
- *realism*: the Frechet distance of the counterfactuals to real images (Melistas et al.).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.inputs import Inputs, sample_inputs
from skdcgn.cgn.layers import Composition
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.classifiers.small_cnn import Predict, classify, predict
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.measure import Measurement, frechet
from skdcgn.features.extractors import Extractor, Images
from skdcgn.metrics.pixels import paired_l1

IMAGES = 1000
REPEATS = 2
BUDGET = replace(PUBLISHED_TRAINING, cooldown=0.5)


def render(cgn: Teacher, inputs: Inputs) -> Tensor:
    """Return the images (N, 3, H, W) in [-1, 1] of ``inputs``."""
    images: Tensor = Composition(partial(draw, cgn))(*inputs.tensors.values())
    return images


def labels_of(inputs: Inputs) -> dict[Mechanism, Tensor]:
    """Return the labels (N,) of each mechanism."""
    return dict(zip(Mechanism, inputs[3:6], strict=True))


def _percent(correct: Tensor) -> float:
    return 100 * float(correct.double().mean())


def intervene(inputs: Inputs, mechanism: Mechanism, classes: int, rng: torch.Generator) -> Inputs:
    """Give one mechanism another label, uniform over the other classes; all else stays."""
    if classes < 2:
        raise UserError("a CGN of one class has no other label to give: pass one with two or more")
    old = labels_of(inputs)[mechanism]
    new = (old + torch.randint(1, classes, old.shape, generator=rng)) % classes
    return inputs._replace(**{f"{mechanism.value}_labels": new})


class Trial(NamedTuple):
    """Inputs and their images (N, 3, H, W); for each mechanism both, after an intervention on its label."""

    inputs: Inputs
    images: Tensor
    varied: dict[Mechanism, tuple[Inputs, Tensor]]


def run_trial(cgn: Teacher, n: int = IMAGES, *, seed: int = 0) -> Trial:
    """Generate ``n`` images and, for each mechanism, the counterfactual of each; the same seed gives the same bytes."""
    rng = generator(seed, "attribution")
    inputs, varied = sample_inputs(cgn.spec, n, rng), {}
    for mechanism in Mechanism:
        changed = intervene(inputs, mechanism, cgn.spec.classes, rng)
        varied[mechanism] = changed, render(cgn, changed)
    return Trial(inputs, render(cgn, inputs), varied)


class Sensitivity(NamedTuple):
    """Percent of the counterfactuals in which one mechanism's label varied.

    Those whose prediction is the shape's label, is the prediction before the intervention, is the new label of the
    mechanism that varied. With c classes, guessing gives 100 / c each.
    """

    accuracy: float
    unchanged: float
    followed: float


def sensitivity(classifier: Predict, trial: Trial) -> dict[str, Sensitivity]:
    """Return a classifier's sensitivity to each mechanism's label."""
    before, sensitivities = classifier(trial.images), {}
    for mechanism, (inputs, images) in trial.varied.items():
        after, labels = classifier(images), labels_of(inputs)
        targets = (labels[Mechanism.SHAPE], before, labels[mechanism])
        sensitivities[mechanism.value] = Sensitivity(*(_percent(after == target) for target in targets))
    return sensitivities


def confusion(classifier: Predict, data: LabelledImages, classes: int) -> Tensor:
    """Count, (classes, classes) int64, the images of class i (rows) that are predicted as class j (columns)."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(data.labels.numpy(), classifier(data.images).numpy(), labels=range(classes))
    return torch.from_numpy(counts)


def effectiveness(classifiers: Mapping[Mechanism, Predict], trial: Trial) -> dict[str, dict[str, float]]:
    """Percent of counterfactuals whose label of mechanism j is predicted, by the varied mechanism k, then by j.

    Args:
        classifiers: one of each mechanism's label; see :func:`train_mechanism_classifiers`. The row ``none`` holds
            their accuracy on images without an intervention, which bounds the other rows.
        trial: images and counterfactuals.
    """
    sets = {"none": (trial.inputs, trial.images)} | {m.value: pair for m, pair in trial.varied.items()}
    return {
        varied: {
            mechanism.value: _percent(classifier(images) == labels_of(inputs)[mechanism])
            for mechanism, classifier in classifiers.items()
        }
        for varied, (inputs, images) in sets.items()
    }


def composition(cgn: Teacher, trial: Trial, repeats: int = REPEATS) -> float:
    """Greatest mean L1 per pixel between the trial's images and those of ``repeats`` further queries."""
    return max(paired_l1(render(cgn, trial.inputs), trial.images) for _ in range(repeats))


def minimality(extractor: Extractor, trial: Trial) -> dict[str, float]:
    """Mean counterfactual latent divergence by varied mechanism, in [0, 1], with L1 distances on features.

    Images whose old or new label no other image has are left out.

    Raises:
        UserError: no images remain.
    """
    before = extractor.gather(trial.images).features
    between_images = torch.cdist(before, before, p=1)  # (N, N)
    divergences = {}
    for mechanism, (inputs, images) in trial.varied.items():
        to_counterfactual = (extractor.gather(images).features - before).abs().sum(1)
        old, new = (labels_of(x)[mechanism] for x in (trial.inputs, inputs))
        divergences[mechanism.value] = _divergence(to_counterfactual, between_images, old, new)
    return divergences


def _divergence(to_counterfactual: Tensor, between_images: Tensor, old: Tensor, new: Tensor) -> float:
    """Mean divergence from distances to the counterfactuals (N,) and between images (N, N), and labels (N,)."""
    old_class = (old[:, None] == old).fill_diagonal_(False)
    new_class = new[:, None] == old
    counts = old_class.sum(1), new_class.sum(1)
    defined = (counts[0] > 0) & (counts[1] > 0)
    if not bool(defined.any()):
        raise UserError(f"{len(old)} images are too few to measure minimality: pass a larger n")
    farther = ((between_images >= to_counterfactual[:, None]) & old_class).sum(1) / counts[0].double()
    nearer = ((between_images <= to_counterfactual[:, None]) & new_class).sum(1) / counts[1].double()
    return float(((nearer.exp() + farther.exp()) / 2).log()[defined].mean())


def mechanism_datasets(cgn: Teacher, config: ClassifyConfig, *, seed: int = 0) -> dict[Mechanism, LabelledImages]:
    """Compose counterfactuals once; return them with the labels of each mechanism."""
    composed = compose(cgn, config.images, per_shape=config.per_shape, policy=config.policy, seed=seed)
    labels = (composed.shape_labels, composed.texture_labels, composed.background_labels)
    names, count = cgn.spec.names, cgn.spec.classes
    return {
        mechanism: LabelledImages(composed.images, own, names, count)
        for mechanism, own in zip(Mechanism, labels, strict=True)
    }


def train_mechanism_classifiers(
    cgn: Teacher, out: Path, config: ClassifyConfig = BUDGET, *, seed: int = 0, device: str = "auto"
) -> dict[Mechanism, Predict]:
    """Train a classifier of each mechanism's label on a CGN's counterfactuals, in a sub-folder of ``out`` each.

    Args:
        cgn: whose counterfactuals; to measure a student, pass its teacher, or the student's faults are learnt too.
        out: folder of the three run folders.
        config: the budget of each classifier.
        seed: of everything random.
        device: where to train.
    """
    return {
        mechanism: partial(
            predict,
            classify(data, config, out / mechanism, seed=seed, device=device, origin=[cgn.digest, mechanism.value]),
        )
        for mechanism, data in mechanism_datasets(cgn, config, seed=seed).items()
    }


class Axioms(NamedTuple):
    """The four axioms: percent, mean L1 per pixel, divergence in [0, 1], Frechet distance."""

    effectiveness: dict[str, dict[str, float]]
    composition: float
    minimality: dict[str, float]
    realism: Measurement

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self._asdict(), "realism": self.realism.to_dict()}


def axioms(
    cgn: Teacher,
    classifiers: Mapping[Mechanism, Predict],
    extractor: Extractor,
    real: Images,
    *,
    n: int = IMAGES,
    seed: int = 0,
) -> Axioms:
    """Measure a CGN's counterfactuals by the four axioms.

    Args:
        cgn: a teacher or a student.
        classifiers: one of each mechanism's label; see :func:`train_mechanism_classifiers`.
        extractor: gives the features for minimality and realism.
        real: images (M, 3, H, W) in [-1, 1], a tensor or batches, that counterfactuals should resemble: decorrelated
            real ones, or else the teacher's counterfactuals.
        n: number of images, each with a counterfactual per mechanism; minimality holds n x n numbers.
        seed: of noise, labels and crops.
    """
    trial = run_trial(cgn, n, seed=seed)
    return Axioms(
        effectiveness(classifiers, trial),
        composition(cgn, trial),
        minimality(extractor, trial),
        frechet(extractor, real, (images for _, images in trial.varied.values())),
    )
