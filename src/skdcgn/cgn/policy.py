"""Policies: sequences of interventions as words ``mechanism.name:amount``, applied in their order.

For instance ``("texture.correlate:0.5", "shape.elastic:1.5", "shape.sharpen:4")``. A word is either on the labels of
its mechanism, before anything is drawn, or on layers, before they are composed. The tables below hold every word with
an amount to begin with and the amounts that it takes; what it does is told in :mod:`skdcgn.cgn.interventions`.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn import interventions as do
from skdcgn.cgn.mechanism import Layers, Mechanism, as_mechanism

Change = Callable[[Tensor, float, torch.Generator], Tensor]
Exchange = Callable[[Layers, float, torch.Generator], Layers]
Assign = Callable[[Tensor, Tensor, int, float, torch.Generator], Tensor]
Act = TypeVar("Act", Change, Exchange, Assign)

MOST_PIXELS = 64


def _colour(text: str) -> int:
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError
    return int(text[1:], 16)


READERS: dict[str, Callable[[str], float]] = {"number": float, "whole number": int, "colour": _colour}


class Word(NamedTuple, Generic[Act]):
    """What a name does, an amount as an example, the least and the greatest (None: the last class), and their kind."""

    act: Act
    example: str
    low: float = 0
    high: float | None = math.inf
    kind: str = "number"


# fmt: off
MASKS: dict[str, Word[Change]] = {
    "sharpen":  Word(do.sharpen,  "4"),
    "level":    Word(do.level,    "0.4",  high=0.49),
    "binarise": Word(do.binarise, "0.5",  high=1),
    "opacity":  Word(do.opacity,  "0.75", high=1),
    "constant": Word(do.solid,    "0.5",  high=1),
    "dilate":   Word(do.dilate,   "1",    high=MOST_PIXELS),
    "erode":    Word(do.erode,    "1",    high=MOST_PIXELS),
    "stroke":   Word(do.stroke,   "1.5",  high=MOST_PIXELS),
    "rotate":   Word(do.rotate,   "90",   low=-360, high=360),
    "spin":     Word(do.spin,     "180",  high=180),
    "affine":   Word(do.affine,   "0.2",  high=1),
    "shift":    Word(do.shift,    "3",    high=MOST_PIXELS, kind="whole number"),
    "elastic":  Word(do.elastic,  "1.5",  high=MOST_PIXELS),
    "noise":    Word(do.noise,    "0.2"),
    "blur":     Word(do.blur,     "1",    high=MOST_PIXELS),
}
PICTURES: dict[str, Word[Change]] = {
    "jitter":   Word(do.jitter,   "0.3"),
    "grey":     Word(do.grey,     "1",    high=1),
    "constant": Word(do.plain,    "#80c0ff", high=0xFFFFFF, kind="colour"),
    "recolour": Word(do.recolour, "0.5",  high=1),
    "turn":     Word(do.turn,     "0.5",  high=1),
    "noise":    Word(do.noise,    "0.2"),
    "blur":     Word(do.blur,     "1",    high=MOST_PIXELS),
}
BOTH_PICTURES: dict[str, Word[Exchange]] = {
    "swap": Word(do.swap, "0.5", high=1),
}
SHAPE_LABELS: dict[str, Word[Assign]] = {
    "relabel":   Word(do.relabel,   "1", high=1),
    "freeze":    Word(do.freeze,    "3", high=None, kind="whole number"),
}
PICTURE_LABELS: dict[str, Word[Assign]] = {
    "correlate": Word(do.correlate, "0.5", high=1),
    "freeze":    Word(do.freeze,    "3", high=None, kind="whole number"),
}
# fmt: on


def on_labels(mechanism: Mechanism) -> dict[str, Word[Assign]]:
    """Return the words that change the labels of a mechanism."""
    return SHAPE_LABELS if mechanism is Mechanism.SHAPE else PICTURE_LABELS


def on_layer(mechanism: Mechanism) -> dict[str, Word[Change]]:
    """Return the words that change what a mechanism drew."""
    return MASKS if mechanism is Mechanism.SHAPE else PICTURES


def known(mechanism: Mechanism) -> dict[str, Word[Any]]:
    """Return every word of a mechanism."""
    both = {} if mechanism is Mechanism.SHAPE else BOTH_PICTURES
    return {**on_layer(mechanism), **both, **on_labels(mechanism)}


class Intervention(NamedTuple):
    """One word of a policy."""

    mechanism: Mechanism
    name: str
    amount: float

    def labels(self, own: Tensor, shape: Tensor, classes: int, rng: torch.Generator) -> Tensor:
        """Return labels (B,) for the mechanism; those it has are passed on if the word is on layers."""
        word = on_labels(self.mechanism).get(self.name)
        return word.act(own, shape, classes, self.amount, rng) if word else own

    def layers(self, layers: Layers, rng: torch.Generator) -> Layers:
        """Change one layer of (B, C, H, W), or two; the others are passed on."""
        if exchange := BOTH_PICTURES.get(self.name):
            return exchange.act(layers, self.amount, rng)
        word = on_layer(self.mechanism).get(self.name)
        return Layers(
            *(
                word.act(layer, self.amount, rng) if word and mechanism is self.mechanism else layer
                for mechanism, layer in zip(Mechanism, layers, strict=True)
            )
        )


@dataclass(frozen=True)
class Policy:
    """Interventions in their order, for a CGN of so many classes."""

    interventions: tuple[Intervention, ...]
    classes: int

    def labels(self, mechanism: Mechanism, own: Tensor, shape: Tensor, rng: torch.Generator) -> Tensor:
        """Return the labels (B,) to draw a mechanism with: of its own, and the shape's that a classifier is asked for.

        The words of one mechanism see nothing of another's: the labels of the shape are those before any word.
        """
        for one in self.interventions:
            if one.mechanism is mechanism:
                own = one.labels(own, shape, self.classes, rng)
        return own

    def layers(self, layers: Layers, rng: torch.Generator) -> Layers:
        """Change layers (B, C, H, W); each image of the batch draws its own."""
        for one in self.interventions:
            layers = one.layers(layers, rng)
        return layers


def parse_policy(words: Sequence[str], classes: int) -> Policy:
    """Read ``mechanism.name:amount`` words for a CGN of so many classes.

    Raises:
        UserError: names the first wrong word with the nearest known one, or with the amounts that it takes.
    """
    return Policy(tuple(_parse(word, classes) for word in words), classes)


def _parse(text: str, classes: int) -> Intervention:
    place, colon, amount = text.partition(":")
    mechanism, _, name = place.partition(".")
    words = known(as_mechanism(mechanism))
    if name not in words:
        misplaced = any(name in known(other) for other in Mechanism)  # and no misspelling of another word
        close = [] if misplaced else difflib.get_close_matches(name, words, n=1)
        hint = f"did you mean {mechanism}.{close[0]}?" if close else f"use one of {', '.join(words)}"
        raise UserError(f"unknown intervention {place!r}: {hint}")
    try:
        return Intervention(Mechanism(mechanism), name, _amount(words[name], amount, classes))
    except ValueError as error:
        given = str(error) if colon else "the amount is missing"
        raise UserError(f"intervention {text!r}: {given}: write for instance {place}:{words[name].example}") from None


def _amount(word: Word[Any], text: str, classes: int) -> float:
    """Return the amount as a number, a colour as its 24 bits; raise ValueError for what the word does not take."""
    high = classes - 1 if word.high is None else word.high
    try:
        amount = READERS[word.kind](text)
    except ValueError:
        raise ValueError(f"amount {text!r} is no {word.kind}") from None
    if not word.low <= amount <= high or math.isinf(amount):
        limits = f"at least {word.low:g}" if math.isinf(high) else f"from {word.low:g} to {high:g}"
        raise ValueError(f"amount {text} is not {limits}")
    return amount
