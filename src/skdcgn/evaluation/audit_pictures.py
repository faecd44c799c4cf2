"""The pictures of an audit: layers are drawn once, and recombined.

A base picture shows nothing of a class y', uniform over all classes: the label of each mechanism is uniform over the
others, independent of the other two, which works from two classes on. Of each mechanism an audit draws

- its ``base`` layer,
- ``label``: do(label := y'), noise and crop as before,
- ``noise``: other noise, label and crop as before,
- ``agree``: do(label := the label of the shape), noise and crop as before (of texture and background).

Base pictures of *whole* objects are those of photographs as they are: the texture has the label and the noise of its
shape, so that a photo CGN draws the whole object of one photograph, before a background of its own. An intervention on
the shape or the texture then takes the object apart.

A picture takes one layer of each mechanism. With an amount a < 1 it takes (1 - a) * base + a * layer.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.inputs import Inputs, Query, sample_inputs
from skdcgn.cgn.layers import blend, tile_crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, Teacher

BATCH = 64  # base pictures at once, whatever the number of them: batch i has random numbers of its own
AMOUNTS = (0.25, 0.5, 0.75)  # of a mixture; 1 is the new layer


class Variant(StrEnum):
    """Which layer of a mechanism a picture takes."""

    BASE = "base"
    LABEL = "label"
    NOISE = "noise"
    AGREE = "agree"


class Recipe(NamedTuple):
    """The variants of shape, texture and background of a picture, and the amount of those that are not the base's."""

    variants: tuple[Variant, Variant, Variant]
    amount: float = 1.0


Subset = tuple[Mechanism, ...]
SUBSETS: dict[str, Subset] = {
    "+".join(subset): subset for size in (1, 2, 3) for subset in combinations(tuple(Mechanism), size)
}


def recipe(variant: Variant, subset: Subset, amount: float = 1.0) -> Recipe:
    """Return the recipe that takes ``variant`` of the mechanisms in ``subset``, and the base's layers of the others."""
    shape, texture, background = (variant if m in subset else Variant.BASE for m in Mechanism)
    return Recipe((shape, texture, background), amount)


BASE = recipe(Variant.BASE, ())
WITHOUT_SHAPE = {name: subset for name, subset in SUBSETS.items() if Mechanism.SHAPE not in subset}
RECIPES = (
    BASE,
    *(recipe(variant, subset) for variant in (Variant.LABEL, Variant.NOISE) for subset in SUBSETS.values()),
    *(recipe(Variant.AGREE, subset) for subset in WITHOUT_SHAPE.values()),
)
MIXTURES = tuple(recipe(Variant.LABEL, (mechanism,), amount) for mechanism in Mechanism for amount in AMOUNTS)
ALL_AGREE = recipe(Variant.LABEL, tuple(Mechanism))  # all three labels are y'


class Trial(NamedTuple):
    """What a batch of base pictures is drawn from: its inputs, other noise (their labels do not count), y' (B,)."""

    inputs: Inputs
    fresh: Inputs
    new_labels: Tensor

    def rows(self, rows: slice) -> "Trial":
        """Return some of the rows."""
        return Trial(self.inputs.rows(rows), self.fresh.rows(rows), self.new_labels[rows])

    @property
    def labels(self) -> Tensor:
        """The labels (B, 3) of shape, texture and background."""
        return torch.stack(self.inputs[3:6], dim=1)

    def query(self, mechanism: Mechanism, variant: Variant) -> Query:
        """Return the input of a layer."""
        own = self.inputs.query(mechanism)
        if variant is Variant.NOISE:
            return own._replace(noise=self.fresh.query(mechanism).noise)
        labels = {Variant.LABEL: self.new_labels, Variant.AGREE: self.inputs.shape_labels}
        return own._replace(labels=labels.get(variant, own.labels))


def check_classes(spec: Spec) -> None:
    """Raise UserError for a CGN whose labels cannot change."""
    if spec.classes < 2:
        raise UserError("a CGN of one class has no other label to give: pass one with two or more")


def sample_trial(spec: Spec, n: int, index: int, seed: int, *, whole: bool = False) -> Trial:
    """Draw what batch ``index`` of ``n`` base pictures, of whole objects or not, is drawn from."""
    count, rng = min(BATCH, n - index * BATCH), generator(seed, "audit", index)
    inputs, fresh = sample_inputs(spec, count, rng), sample_inputs(spec, count, rng)
    new = torch.randint(spec.classes, (count,), generator=rng)
    for mechanism in Mechanism:
        labels = (new + torch.randint(1, spec.classes, (count,), generator=rng)) % spec.classes
        inputs = inputs.with_query(mechanism, Query(inputs.query(mechanism).noise, labels))
    if whole:
        inputs = inputs.with_query(Mechanism.TEXTURE, inputs.query(Mechanism.SHAPE))
    return Trial(inputs, fresh, new)


class DrawnLayers:
    """The layers of a batch, each drawn when a recipe first needs it, and cropped if it tiles."""

    def __init__(self, cgn: Teacher, trial: Trial) -> None:
        self.cgn, self.trial = cgn, trial
        self._layers: dict[tuple[Mechanism, Variant], Tensor] = {}

    def layer(self, mechanism: Mechanism, variant: Variant) -> Tensor:
        """Return a layer (B, C, H, W)."""
        key = mechanism, variant
        if key not in self._layers:
            self._layers[key] = self._cropped(mechanism, draw(self.cgn, mechanism, *self.trial.query(*key)))
        return self._layers[key]

    def _cropped(self, mechanism: Mechanism, layer: Tensor) -> Tensor:
        inputs = self.trial.inputs
        offsets: Mapping[Mechanism, Tensor | None] = {
            Mechanism.TEXTURE: inputs.texture_offsets,
            Mechanism.BACKGROUND: inputs.background_offsets,
        }
        corner = offsets.get(mechanism)
        return layer if corner is None else tile_crop(layer, corner)

    def picture(self, of: Recipe) -> Tensor:
        """Return pictures (B, 3, H, W) in [-1, 1]."""
        layers = []
        for mechanism, variant in zip(Mechanism, of.variants, strict=True):
            layer = self.layer(mechanism, variant)
            layers.append(layer if of.amount == 1 else self.layer(mechanism, Variant.BASE).lerp(layer, of.amount))
        return blend(Layers(*layers))
