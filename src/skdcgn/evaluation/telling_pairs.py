"""The most telling pairs of an audit: one picture, two textures or backgrounds, two answers, the second the new class.

The answers of all pictures are kept, the pictures are not: those of a pair are drawn again from their seed.
"""

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.evaluation.audit_answers import Answers
from skdcgn.evaluation.audit_pictures import BASE, BATCH, DrawnLayers, Variant, recipe, sample_trial
from skdcgn.evaluation.audit_record import Pair

PAIRS = 12
DIGITS = 2  # after the point of a confidence in percent


def telling_pairs(answers: Answers, follows: Sequence[str], *, count: int = PAIRS) -> tuple[Pair, ...]:
    """Return up to ``count`` pairs, of followed mechanisms first, in turns; of each, over the new classes in turns.

    Within a class, those of the highest confidence come first: the geometric mean of the probabilities of both answers.
    """
    pictures = (Mechanism.TEXTURE, Mechanism.BACKGROUND)
    first = [m for m in pictures if m in follows]
    rest = [m for m in pictures if m not in follows]
    ranked = [pair for group in (first, rest) for pair in _in_turns([_ranked(answers, m) for m in group])]
    return tuple(ranked[:count])


def _ranked(answers: Answers, mechanism: Mechanism) -> list[Pair]:
    """Return the pairs of a mechanism, over the new classes in turns."""
    by_class = dict[int, list[Pair]]()
    for pair in sorted(_candidates(answers, mechanism), key=lambda pair: (-_confidence(pair), pair.row)):
        by_class.setdefault(pair.new_label, []).append(pair)
    return _in_turns(list(by_class.values()))


def _in_turns(lists: Sequence[list[Pair]]) -> list[Pair]:
    """Return the first pair of each list, then the second of each, ..."""
    return [pair for turn in zip_longest(*lists) for pair in turn if pair]


def _confidence(pair: Pair) -> float:
    return pair.confidence_before * pair.confidence_after


def _candidates(answers: Answers, mechanism: Mechanism) -> list[Pair]:
    """Return the pairs of one mechanism that are followed."""
    of = recipe(Variant.LABEL, (mechanism,))
    rows = answers.follow(of).nonzero()[:, 0]
    columns = (
        answers.labels[rows].tolist(),
        answers.new_labels[rows].tolist(),
        answers.before[rows].tolist(),
        answers.confidences[BASE][rows].tolist(),
        answers.confidences[of][rows].tolist(),
        rows.tolist(),
    )
    return [
        Pair(str(mechanism), (s, t, b), new, before, new, round(100 * first, DIGITS), round(100 * second, DIGITS), row)
        for (s, t, b), new, before, first, second, row in zip(*columns, strict=True)
    ]


def draw_pairs(cgn: Teacher, pairs: Sequence[Pair], n: int, *, whole: bool = False, seed: int = 0) -> Tensor:
    """Draw the pictures of pairs among ``n`` base pictures again: (P, 2, 3, H, W) uint8, before and after."""
    size = cgn.spec.image_size
    pictures = torch.zeros(len(pairs), 2, 3, size, size, dtype=torch.uint8)
    for place, pair in enumerate(pairs):
        index, row = divmod(pair.row, BATCH)
        layers = DrawnLayers(cgn, sample_trial(cgn.spec, n, index, seed, whole=whole).rows(slice(row, row + 1)))
        new = recipe(Variant.LABEL, (Mechanism(pair.mechanism),))
        pictures[place] = as_rgb(torch.cat([layers.picture(BASE), layers.picture(new)]).cpu())
    return pictures
