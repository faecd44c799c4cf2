"""What a trained classifier and a CGN do when exactly one mechanism's label varies, all else held.

An intervention do(y_k := y') gives mechanism k the label y' and keeps its noise, the other two mechanisms' noise and
labels, and the crops. So the counterfactual of a drawn image is known, without the abduction that images from
elsewhere would need. On such pairs are defined

- *sensitivity* of a classifier to mechanism k: how often it is right, how often it stays with what it said, and how
  often it goes where k went. One that has learned shape alone stays when texture or background varies.

and the four axioms that counterfactuals are judged by (Monteiro et al. 2023; Melistas et al. 2024), for mechanisms
that are independent of each other:

- *effectiveness*: how often a classifier of mechanism j's label finds the label that j has after do(y_k := y'): for
  j = k the intervention shows (Monteiro et al.), for j != k it left j alone.
- *composition*: mean L1 between an image and what the same inputs give when asked again (the null intervention of
  Monteiro et al.); 0 for a pure function.
- *minimality*: the counterfactual latent divergence (Sanchez & Tsaftaris 2022; Melistas et al.)
  log(e^P(S' <= d) / 2 + e^P(S >= d) / 2), with d the distance on features from an image to its counterfactual, S those
  to other images whose label of k is the old one, S' to those where it is the new one. From 0, best, to 1: a good one
  is farther than its old class, and nearer than its new class.
- *realism*: the Frechet distance of the counterfactuals to real images (Melistas et al.).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import Composition, Inputs, compose, draw, sample_inputs
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.classifiers.small_cnn import Predict, classify, predict
from skdcgn.data.appearances import Dataset
from skdcgn.evaluation.measure import Measured, frechet
from skdcgn.features.extractors import Extractor, Images
from skdcgn.metrics.pixels import paired_l1

IMAGES = 1000
AGAIN = 2
BUDGET = ClassifyConfig(cooldown=0.5)


def render(cgn: Teacher, inputs: Inputs) -> Tensor:
    """Draw what ``inputs`` say: images (N, 3, H, W) in [-1, 1]."""
    images: Tensor = Composition(partial(draw, cgn))(*inputs)
    return images


def labels_of(inputs: Inputs) -> dict[Mechanism, Tensor]:
    """Return the labels (N,) of each mechanism."""
    return dict(zip(Mechanism, inputs[3:6], strict=True))


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())


def intervene(inputs: Inputs, mechanism: Mechanism, classes: int, rng: torch.Generator) -> Inputs:
    """Give one mechanism another label, drawn uniformly from the other classes; all else stays."""
    if classes < 2:
        raise UserError("a CGN of one class has no other label to give: pass one with two or more")
    before = labels_of(inputs)[mechanism]
    after = (before + torch.randint(1, classes, before.shape, generator=rng)) % classes
    return inputs._replace(**{f"{mechanism.value}_labels": after})


class Trial(NamedTuple):
    """Inputs and the images (N, 3, H, W) they give; for each mechanism both, with its label alone varied."""

    inputs: Inputs
    images: Tensor
    varied: dict[Mechanism, tuple[Inputs, Tensor]]


def hold_trial(cgn: Teacher, n: int = IMAGES, *, seed: int = 0) -> Trial:
    """Draw ``n`` images and, for each mechanism, the counterfactual of each; the same seed gives the same bytes."""
    rng = generator(seed, "attribution")
    inputs, varied = sample_inputs(cgn.spec, n, rng), {}
    for mechanism in Mechanism:
        after = intervene(inputs, mechanism, cgn.spec.classes, rng)
        varied[mechanism] = after, render(cgn, after)
    return Trial(inputs, render(cgn, inputs), varied)


class Sensitivity(NamedTuple):
    """Percent of counterfactuals in which one mechanism's label varied.

    Where the prediction is the shape's label, where it is what it was before, and where it is the new label of the
    mechanism that varied. With c classes, guessing gives 100 / c each.
    """

    accuracy: float
    unchanged: float
    followed: float


def sensitivity(classifier: Predict, trial: Trial) -> dict[str, Sensitivity]:
    """Return a classifier's sensitivity to each mechanism's label."""
    before, told = classifier(trial.images), {}
    for mechanism, (inputs, images) in trial.varied.items():
        after, labels = classifier(images), labels_of(inputs)
        wanted = (labels[Mechanism.SHAPE], before, labels[mechanism])
        told[mechanism.value] = Sensitivity(*(_percent(after == other) for other in wanted))
    return told


def confusion(classifier: Predict, data: Dataset, classes: int) -> Tensor:
    """Count, (classes, classes) int64, images of class i (rows) that are taken for class j (columns)."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(data.labels.numpy(), classifier(data.images).numpy(), labels=range(classes))
    return torch.from_numpy(counts)


def effectiveness(judges: Mapping[Mechanism, Predict], trial: Trial) -> dict[str, dict[str, float]]:
    """Percent of counterfactuals whose label of mechanism j a judge of j finds: by what varied (k), then by j.

    Args:
        judges: a classifier per mechanism; see :func:`train_judges`. What they reach where nothing varied stands under
            ``none``: the other rows cannot say more than that.
    """
    drawn = {"none": (trial.inputs, trial.images)} | {m.value: pair for m, pair in trial.varied.items()}
    return {
        varied: {judged.value: _percent(judge(images) == labels_of(inputs)[judged]) for judged, judge in judges.items()}
        for varied, (inputs, images) in drawn.items()
    }


def composition(cgn: Teacher, trial: Trial, again: int = AGAIN) -> float:
    """Greatest mean L1 per pixel between the trial's images and those of the same inputs, asked ``again`` times."""
    return max(paired_l1(render(cgn, trial.inputs), trial.images) for _ in range(again))


def minimality(extractor: Extractor, trial: Trial) -> dict[str, float]:
    """Mean counterfactual latent divergence by what varied: 0 to 1, small is minimal. Distances are L1 on features.

    Images whose old or new label no other image has are left out; raise UserError if that leaves none.
    """
    before = extractor.gather(trial.images).features
    apart = torch.cdist(before, before, p=1)  # (N, N)
    told = {}
    for mechanism, (inputs, images) in trial.varied.items():
        gap = (extractor.gather(images).features - before).abs().sum(1)
        told[mechanism.value] = _divergence(
            gap, apart, labels_of(trial.inputs)[mechanism], labels_of(inputs)[mechanism]
        )
    return told


def _divergence(gap: Tensor, apart: Tensor, old: Tensor, new: Tensor) -> float:
    """Mean CLD of distances (N,) to the counterfactuals beside those (N, N) between the images, whose label is old."""
    of_old = (old[:, None] == old).fill_diagonal_(False)
    of_new = new[:, None] == old
    counts = of_old.sum(1), of_new.sum(1)
    known = (counts[0] > 0) & (counts[1] > 0)
    if not bool(known.any()):
        raise UserError(f"{len(old)} images are too few to measure minimality in: draw more")
    beyond = ((apart >= gap[:, None]) & of_old).sum(1) / counts[0].double()
    short = ((apart <= gap[:, None]) & of_new).sum(1) / counts[1].double()
    return float(((short.exp() + beyond.exp()) / 2).log()[known].mean())


def train_judges(
    cgn: Teacher, out: Path, config: ClassifyConfig = BUDGET, *, seed: int = 0, device: str = "auto"
) -> dict[Mechanism, Predict]:
    """Train a classifier of each mechanism's label on a CGN's counterfactuals, in a sub-folder of ``out`` each.

    Judges of a student should learn from its teacher, lest its faults go unseen.
    """
    made = compose(cgn, config.images, per_shape=config.per_shape, policy=config.policy, seed=seed)
    labels = (made.shape_labels, made.texture_labels, made.background_labels)
    return {
        mechanism: partial(
            predict,
            classify(
                Dataset(made.images, known),
                config,
                out / mechanism,
                seed=seed,
                device=device,
                origin=[cgn.digest, mechanism.value],
            ),
        )
        for mechanism, known in zip(Mechanism, labels, strict=True)
    }


class Quality(NamedTuple):
    """The four axioms, see above: percent, mean L1 per pixel, divergence from 0 to 1, Frechet distance."""

    effectiveness: dict[str, dict[str, float]]
    composition: float
    minimality: dict[str, float]
    realism: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self._asdict(), "realism": self.realism.to_dict()}


def quality(
    cgn: Teacher,
    judges: Mapping[Mechanism, Predict],
    extractor: Extractor,
    real: Images,
    *,
    n: int = IMAGES,
    seed: int = 0,
) -> Quality:
    """Measure a CGN's counterfactuals by the four axioms.

    Args:
        cgn: a teacher or a student.
        judges: a classifier of each mechanism's label.
        extractor: whose features minimality and realism are measured on.
        real: images (M, 3, H, W) in [-1, 1], all or batch by batch, that counterfactuals should look like: decorrelated
            ones, or, where nobody has any, the teacher's.
        n: how many images, each with a counterfactual per mechanism; minimality takes n x n numbers.
        seed: of noise, labels and crops.
    """
    trial = hold_trial(cgn, n, seed=seed)
    return Quality(
        effectiveness(judges, trial),
        composition(cgn, trial),
        minimality(extractor, trial),
        frechet(extractor, real, (images for _, images in trial.varied.values())),
    )
