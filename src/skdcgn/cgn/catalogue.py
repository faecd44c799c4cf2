"""The catalogue of interventions: functions, registered under a mechanism and a name by a decorator.

An intervention changes layers, after they are drawn, or labels or the whole input of a mechanism, before::

    @INTERVENTIONS.on_layer((Mechanism.SHAPE,), "invert", Number(0.5, high=1))
    def invert(mask: Tensor, share: float, rng: torch.Generator) -> Tensor:
        rows = torch.rand(len(mask), 1, 1, 1, generator=rng) < share
        return torch.where(rows.to(mask.device), 1 - mask, mask)

Then ``shape.invert:0.5`` is a word of every policy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.amounts import AmountType
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.mechanism import Layers, Mechanism

Change = Callable[[Tensor, Any, torch.Generator], Tensor]
Exchange = Callable[[Layers, Any, torch.Generator], Layers]
Assign = Callable[[Tensor, Tensor, int, Any, torch.Generator], Tensor]
Follow = Callable[[Query, Query, Any, torch.Generator], Query]
C = TypeVar("C", bound=Change)
E = TypeVar("E", bound=Exchange)
A = TypeVar("A", bound=Assign)
F = TypeVar("F", bound=Follow)


@dataclass(frozen=True)
class LayerChange:
    """``act(layers, amount, rng) -> layers`` (B, C, H, W); each image of the batch draws random numbers of its own.

    ``untiled`` acts on pictures that do not tile, where that is something else.
    """

    act: Exchange
    amount: AmountType
    untiled: Exchange | None = None


@dataclass(frozen=True)
class LabelChange:
    """``act(own, shape, classes, amount, rng) -> labels`` (B,): of a mechanism's own labels and the shape's."""

    act: Assign
    amount: AmountType


@dataclass(frozen=True)
class InputChange:
    """``act(own, shape, amount, rng) -> query``: of a mechanism's own input, and its shape's, as the mask is drawn."""

    act: Follow
    amount: AmountType


Definition = LayerChange | LabelChange | InputChange


class Catalogue:
    """The interventions of each mechanism, by name."""

    def __init__(self) -> None:
        self._entries: dict[Mechanism, dict[str, Definition]] = {mechanism: {} for mechanism in Mechanism}

    def __getitem__(self, mechanism: Mechanism) -> Mapping[str, Definition]:
        """Return the interventions of a mechanism by name."""
        return MappingProxyType(self._entries[mechanism])

    def on_layer(
        self, mechanisms: Sequence[Mechanism], name: str, amount: AmountType, *, untiled: Change | None = None
    ) -> Callable[[C], C]:
        """Register ``function(layer, amount, rng) -> layer``: the mechanism's layer alone changes.

        Args:
            untiled: the function for layers of a CGN whose pictures do not tile; None: the same.
        """

        def register(function: C) -> C:
            for mechanism in mechanisms:
                own = _on_one(untiled, mechanism) if untiled else None
                self._add(mechanism, name, LayerChange(_on_one(function, mechanism), amount, own))
            return function

        return register

    def on_layers(self, mechanisms: Sequence[Mechanism], name: str, amount: AmountType) -> Callable[[E], E]:
        """Register ``function(layers, amount, rng) -> layers``: any of the three layers may change."""

        def register(function: E) -> E:
            for mechanism in mechanisms:
                self._add(mechanism, name, LayerChange(function, amount))
            return function

        return register

    def on_labels(self, mechanisms: Sequence[Mechanism], name: str, amount: AmountType) -> Callable[[A], A]:
        """Register ``function(own, shape, classes, amount, rng) -> labels`` of the mechanism."""

        def register(function: A) -> A:
            for mechanism in mechanisms:
                self._add(mechanism, name, LabelChange(function, amount))
            return function

        return register

    def on_inputs(self, mechanisms: Sequence[Mechanism], name: str, amount: AmountType) -> Callable[[F], F]:
        """Register ``function(own, shape, amount, rng) -> query``: the noise and labels of the mechanism."""

        def register(function: F) -> F:
            for mechanism in mechanisms:
                self._add(mechanism, name, InputChange(function, amount))
            return function

        return register

    def _add(self, mechanism: Mechanism, name: str, definition: Definition) -> None:
        """Add a definition; one from the same place in the source replaces the former (a notebook's cell)."""
        former = self._entries[mechanism].get(name)
        if former and _place(former.act) != _place(definition.act):
            raise UserError(f"there is an intervention {mechanism}.{name} already: choose another name")
        self._entries[mechanism][name] = definition


def _on_one(function: Change, mechanism: Mechanism) -> Exchange:
    index = list(Mechanism).index(mechanism)

    @wraps(function)
    def act(layers: Layers, amount: Any, rng: torch.Generator) -> Layers:
        return Layers(*(function(layer, amount, rng) if i == index else layer for i, layer in enumerate(layers)))

    return act


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__
