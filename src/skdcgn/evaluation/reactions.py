"""From the answers of an audit to its numbers, each with its 95 % interval (:mod:`skdcgn.metrics.intervals`).

What following alone explains of a subset S is the *excess*, in points:

    excess(S) = follow(S) - max(floor(S), bystander(S) / c)

``floor(S)``: how often new noise of S makes the decision y'. ``bystander(S)``: how often do(labels of S := y') flips
the decision to a class that no label of the picture has, before or after; c is the mean number of such classes. A
classifier that a new picture merely confuses takes y' for its answer as often as it takes one of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.audit_answers import Answers
from skdcgn.evaluation.audit_pictures import (
    AMOUNTS,
    SUBSETS,
    WITHOUT_SHAPE,
    Subset,
    Variant,
    recipe,
)
from skdcgn.evaluation.audit_record import CurvePoint, Floor, Interval, Reaction
from skdcgn.metrics.intervals import difference_ends, share_draws, share_ends

MARGIN = 1.0  # point: an excess whose interval lies above it is following
DIGITS = 3  # after the point of a percentage


class Reactions(NamedTuple):
    """Reactions and noise floors by the name of the subset: ``shape``, ..., ``texture+background``, ..."""

    reactions: dict[str, Reaction]
    floors: dict[str, Floor]

    @property
    def follows(self) -> tuple[str, ...]:
        """The subsets of texture and background whose class the decision follows."""
        return tuple(name for name in WITHOUT_SHAPE if self.reactions[name].excess.low > MARGIN)


def reactions(answers: Answers, *, seed: int = 0) -> Reactions:
    """Return the reaction to each subset's new labels, and its noise floor; all intervals share their draws."""
    columns = {
        (name, kind): column for name, subset in SUBSETS.items() for kind, column in _outcomes(answers, subset).items()
    }
    outcomes = torch.stack(list(columns.values()), dim=1)
    draws = share_draws(outcomes, generator(seed, "audit intervals"))
    shares = dict(zip(columns, intervals(share_ends(outcomes, draws)), strict=True))
    sampled = dict(zip(columns, zip(draws.unbind(1), outcomes.double().mean(0), strict=True), strict=True))
    parts, floors = {}, {}
    for name in SUBSETS:
        draw, value = ({kind: sampled[name, kind][i] for kind in EXCESS} for i in (0, 1))
        excess = [_excess(one, answers.bystanders) for one in (value, draw)]
        (gap,) = intervals(difference_ends(excess[0][None], excess[1][:, None]))
        parts[name] = Reaction(excess=gap, **{kind: shares[name, kind] for kind in REACTION})
        floors[name] = Floor(shares[name, "floor flip"], shares[name, "floor"])
    return Reactions(parts, floors)


REACTION = ("flip", "follow", "accuracy", "agree")
EXCESS = ("follow", "floor", "bystander")


def _outcomes(answers: Answers, subset: Subset) -> dict[str, Tensor]:
    """Return (N,) bool by what happens."""
    label, noise = recipe(Variant.LABEL, subset), recipe(Variant.NOISE, subset)
    return {
        "flip": answers.flip(label),
        "follow": answers.follow(label),
        "accuracy": answers.accuracy(subset),
        "agree": answers.agree(subset),
        "floor flip": answers.flip(noise),
        "floor": answers.follow(noise),
        "bystander": answers.bystander(subset),
    }


def _excess(shares: dict[str, Tensor], bystanders: float) -> Tensor:
    each = shares["bystander"] / bystanders if bystanders else torch.zeros_like(shares["floor"])
    return shares["follow"] - torch.maximum(shares["floor"], each)


def curves(answers: Answers, *, seed: int = 0) -> dict[str, tuple[CurvePoint, ...]]:
    """Return flip and follow by mechanism and amount, on the base pictures that mixtures were drawn of."""
    recipes = [recipe(Variant.LABEL, (mechanism,), amount) for mechanism in Mechanism for amount in (*AMOUNTS, 1.0)]
    count = len(answers.decisions[recipes[0]])
    outcomes = torch.stack([part[:count] for of in recipes for part in (answers.flip(of), answers.follow(of))], dim=1)
    shares = iter(intervals(share_ends(outcomes, share_draws(outcomes, generator(seed, "audit curves")))))
    points = [CurvePoint(of.amount, next(shares), next(shares)) for of in recipes]
    size = len(AMOUNTS) + 1
    return {str(m): tuple(points[size * i : size * (i + 1)]) for i, m in enumerate(Mechanism)}


def intervals(shares: Tensor) -> list[Interval]:
    """Return values and ends (3, C), shares or differences of them, as percentages."""
    return [Interval(*(round(100 * number, DIGITS) for number in column)) for column in shares.T.tolist()]
