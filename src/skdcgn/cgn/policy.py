"""Policies: interventions in their order, for a CGN of so many classes.

An :class:`Intervention` is a mechanism, a name in the catalogue (:mod:`skdcgn.cgn.interventions`) and an amount. In
flags and files it is a word, ``mechanism.name:amount``: ``("texture.correlate:0.5", "shape.elastic:1.5")``;
:func:`parse_intervention` makes the one of the other, and ``str`` the other of the one.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.cgn.amounts import Amount, write
from skdcgn.cgn.catalogue import Definition, InputChange, LabelChange, LayerChange
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.interventions import INTERVENTIONS
from skdcgn.cgn.mechanism import Layers, Mechanism, as_mechanism


@dataclass(frozen=True)
class Intervention:
    """One intervention, on the labels, the whole input or the layer of its mechanism.

    Args:
        mechanism: ``shape``, ``texture`` or ``background``.
        name: in ``INTERVENTIONS[mechanism]``.
        amount: of the type that the intervention takes.

    Raises:
        UserError: no such intervention, or an amount that it does not take.
    """

    mechanism: Mechanism
    name: str
    amount: Amount

    def __post_init__(self) -> None:
        object.__setattr__(self, "mechanism", as_mechanism(self.mechanism))
        object.__setattr__(self, "amount", self.validate(None))

    def __str__(self) -> str:
        return f"{self.mechanism}.{self.name}:{write(self.amount)}"

    @property
    def definition(self) -> Definition:
        """The function that it calls, as registered."""
        return _find(self.mechanism, self.name)

    @property
    def on_layers(self) -> bool:
        """Whether it changes layers, after they are drawn; else labels or noise, before."""
        return isinstance(self.definition, LayerChange)

    def validate(self, classes: int | None) -> Amount:
        """Return the amount; raise UserError if it is none that the intervention takes (for so many classes)."""
        try:
            return self.definition.amount.validate(self.amount, classes)
        except ValueError as error:
            raise _misuse(str(self), self.mechanism, self.name, str(error)) from None


@dataclass(frozen=True)
class Policy:
    """Interventions in their order, for a CGN of so many classes, whose pictures tile or do not."""

    interventions: tuple[Intervention, ...]
    classes: int
    tiles: bool = True

    def __post_init__(self) -> None:
        for one in self.interventions:
            one.validate(self.classes)

    @property
    def on_layers(self) -> bool:
        """Whether any of them changes layers, after they are drawn."""
        return any(one.on_layers for one in self.interventions)

    def labels(self, mechanism: Mechanism, own: Tensor, shape: Tensor, rng: torch.Generator) -> Tensor:
        """Return the labels (B,) with which a mechanism draws.

        Args:
            mechanism: the one that draws.
            own: its labels (B,) before the policy.
            shape: the labels (B,) of the shape before the policy, the classes to predict.
            rng: for the interventions on these labels.
        """
        for one in self.interventions:
            if one.mechanism is mechanism and isinstance(change := one.definition, LabelChange):
                own = change.act(own, shape, self.classes, one.amount, rng)
        return own

    def inputs(self, mechanism: Mechanism, own: Query, shape: Query, rng: torch.Generator) -> Query:
        """Return the input (B rows) with which a texture or background is drawn.

        Args:
            mechanism: the one that draws.
            own: its noise, and its labels after :meth:`labels`.
            shape: the noise and labels with which the mask of each row is drawn.
            rng: for the interventions on this mechanism's input.
        """
        for one in self.interventions:
            if one.mechanism is mechanism and isinstance(change := one.definition, InputChange):
                own = change.act(own, shape, one.amount, rng)
        return own

    def layers(self, layers: Layers, rng: torch.Generator) -> Layers:
        """Change layers (B, C, H, W); each image of the batch draws random numbers of its own."""
        for one in self.interventions:
            if isinstance(change := one.definition, LayerChange):
                act = change.act if self.tiles else change.untiled or change.act
                layers = act(layers, one.amount, rng)
        return layers


def parse_policy(policy: Sequence[str | Intervention], classes: int, *, tiles: bool = True) -> Policy:
    """Return interventions, or their words, as the policy of a CGN of so many classes, whose pictures tile or do not.

    Raises:
        UserError: names the first wrong word with the nearest name, or with the amounts that it takes.
    """
    if isinstance(policy, str | Intervention):
        parse_policy([policy], classes)  # a wrong word is the first thing to mend
        raise UserError(f'policy is one intervention: pass a list of them: ["{policy}"]')
    typed = (one if isinstance(one, Intervention) else parse_intervention(one) for one in policy)
    return Policy(tuple(typed), classes, tiles)


def parse_intervention(word: str) -> Intervention:
    """Read ``mechanism.name:amount``; raise UserError that names what is wrong and the mend."""
    place, colon, amount = word.partition(":")
    mechanism, _, name = place.partition(".")
    definition = _find(as_mechanism(mechanism), name)
    try:
        return Intervention(Mechanism(mechanism), name, definition.amount.read(amount))
    except ValueError as error:
        reason = str(error) if colon else "the amount is missing"
        raise _misuse(word, mechanism, name, reason) from None


def _find(mechanism: Mechanism, name: str) -> Definition:
    names = INTERVENTIONS[mechanism]
    if name in names:
        return names[name]
    misplaced = any(name in INTERVENTIONS[other] for other in Mechanism)  # and so not misspelt
    close = [] if misplaced else difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {mechanism}.{close[0]}?" if close else f"use one of {', '.join(names)}"
    raise UserError(f"unknown intervention '{mechanism}.{shortened(name)}': {hint}")


def _misuse(word: str, mechanism: str, name: str, reason: str) -> UserError:
    example = write(_find(Mechanism(mechanism), name).amount.example)
    return UserError(f"intervention {shown(word)}: {reason}: write for instance {mechanism}.{name}:{example}")
