"""What a classifier answers on the pictures of an audit: a decision and its probability for each, in one pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, silent
from skdcgn.cgn.mechanism import MARGIN, Mechanism, Teacher
from skdcgn.evaluation.audit_pictures import (
    ALL_AGREE,
    BASE,
    BATCH,
    MIXTURES,
    RECIPES,
    DrawnLayers,
    Recipe,
    Subset,
    Variant,
    check_classes,
    recipe,
    sample_trial,
)

Probabilities = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> probabilities (B, classes)
MIXED, MIXED_SHARE = 500, 4  # base pictures of curves: this many, and one in this many, at most


@dataclass(frozen=True)
class Answers:
    """Decisions (N,) int64 and their probabilities (N,) by recipe, and the labels of the base pictures.

    Args:
        labels: (N, 3), of shape, texture and background.
        new_labels: (N,), y'.
        classes: their number.
        decisions, confidences: of the recipes in ``RECIPES`` on all base pictures, of those in ``MIXTURES`` on the
            first ones.
    """

    labels: Tensor
    new_labels: Tensor
    classes: int
    decisions: dict[Recipe, Tensor]
    confidences: dict[Recipe, Tensor]

    @property
    def before(self) -> Tensor:
        """Decisions (N,) on the base pictures."""
        return self.decisions[BASE]

    def label_of(self, mechanism: Mechanism) -> Tensor:
        """Return the labels (N,) of a mechanism in the base pictures."""
        return self.labels[:, list(Mechanism).index(mechanism)]

    def flip(self, of: Recipe) -> Tensor:
        """Return (N,) bool: the decision is another than on the base picture."""
        after = self.decisions[of]
        return after != self.before[: len(after)]

    def follow(self, of: Recipe) -> Tensor:
        """Return (N,) bool: the decision changes, and becomes y'."""
        after = self.decisions[of]
        return self.flip(of) & (after == self.new_labels[: len(after)])

    def accuracy(self, subset: Subset) -> Tensor:
        """Return (N,) bool: after do(labels of the subset := y') the decision is the shape's label."""
        shape = self.new_labels if Mechanism.SHAPE in subset else self.label_of(Mechanism.SHAPE)
        return self.decisions[recipe(Variant.LABEL, subset)] == shape

    def agree(self, subset: Subset) -> Tensor:
        """Return (N,) bool: the same where the other labels agree with the shape's.

        Of a subset with the shape all three are y'; of others, those of the subset become the shape's label.
        """
        if Mechanism.SHAPE in subset:
            return self.decisions[ALL_AGREE] == self.new_labels
        return self.decisions[recipe(Variant.AGREE, subset)] == self.label_of(Mechanism.SHAPE)

    def bystander(self, subset: Subset) -> Tensor:
        """Return (N,) bool: after do(labels of the subset := y') the decision flips to a class that no label has."""
        after = self.decisions[recipe(Variant.LABEL, subset)]
        shown = torch.cat([self.labels, self.new_labels[:, None]], dim=1)
        return self.flip(recipe(Variant.LABEL, subset)) & (after[:, None] != shown).all(1)

    @property
    def bystanders(self) -> float:
        """Mean number of the classes that no label has, before or after, and that is not the decision before."""
        shown = torch.cat([self.labels, self.new_labels[:, None], self.before[:, None]], dim=1).sort(1).values
        distinct = 1 + (shown[:, 1:] != shown[:, :-1]).sum(1)
        return float((self.classes - distinct).double().mean())

    def confusion(self, mechanism: Mechanism) -> Tensor:
        """Count base pictures by the mechanism's label (rows) and the decision (columns): (classes, classes) int64."""
        places = self.classes * self.label_of(mechanism) + self.before
        return places.bincount(minlength=self.classes**2).view(self.classes, self.classes)


def mixed(n: int) -> int:
    """Return how many of ``n`` base pictures curves are measured on: whole batches, or all."""
    return min(n, -(-min(MIXED, n // MIXED_SHARE) // BATCH) * BATCH)


def ask(
    classifier: Probabilities, cgn: Teacher, n: int, *, whole: bool = False, seed: int = 0, watch: Watch = silent
) -> Answers:
    """Show a classifier the pictures of ``n`` base pictures, batch by batch; keep decisions and their probabilities.

    Args:
        classifier: images (B, 3, H, W) in [-1, 1] -> probabilities (B, classes), in the order of the CGN's classes.
        whole: base pictures show whole objects (:mod:`skdcgn.evaluation.audit_pictures`).

    Raises:
        UserError: the CGN has one class, or an answer is no probabilities of its classes.
    """
    check_classes(cgn.spec)
    tell, curves = watch("audit", n), mixed(n)
    counts = dict.fromkeys(RECIPES, n) | dict.fromkeys(MIXTURES, curves)
    answers = Answers(  # each tensor in one piece of memory, whatever the number of batches
        torch.empty(n, len(Mechanism), dtype=torch.int64),
        torch.empty(n, dtype=torch.int64),
        cgn.spec.classes,
        {of: torch.empty(count, dtype=torch.int64) for of, count in counts.items()},
        {of: torch.empty(count) for of, count in counts.items()},
    )
    for index, start in enumerate(range(0, n, BATCH)):
        rows, trial = slice(start, start + BATCH), sample_trial(cgn.spec, n, index, seed, whole=whole)
        layers = DrawnLayers(cgn, trial)
        answers.labels[rows], answers.new_labels[rows] = trial.labels, trial.new_labels
        for of in (*RECIPES, *(MIXTURES if start < curves else ())):
            decision, confidence = decide(classifier, layers.picture(of), cgn.spec.classes)
            answers.decisions[of][rows], answers.confidences[of][rows] = decision, confidence
        tell(min(n, start + BATCH))
    return answers


def decide(classifier: Probabilities, images: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return decisions (B,) int64 and their probabilities (B,) on the CPU; raise UserError for wrong answers."""
    with torch.inference_mode():
        answer = classifier(images)
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (len(images), classes):
        kind = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UserError(
            f"the classifier answers {len(images)} images with {kind}: "
            f"it should answer with probabilities of shape ({len(images)}, {classes})"
        )
    confidence, decision = answer.detach().float().cpu().max(1)
    if not bool(((confidence >= -MARGIN) & (confidence <= 1 + MARGIN)).all()):  # false for NaN too
        raise UserError("the classifier's answers are no probabilities: end it in a softmax, and check for NaN")
    return decision, confidence.clamp(0, 1)
