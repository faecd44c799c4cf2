"""The most telling pairs of an audit: one picture, two textures or backgrounds, two answers, the second the new class.

The answers of all pictures are kept, the pictures are not: those of a pair are drawn again from their seed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.evaluation.audit_answers import Answers
from skdcgn.evaluation.audit_pictures import BASE, BATCH, DrawnLayers, Variant, recipe, sample_trial
from skdcgn.evaluation.audit_record import BOTH, Pair

PAIRS = 12
DIGITS = 2  # after the point of a confidence in percent


def telling_pairs(answers: Answers, follows: Sequence[str], *, count: int = PAIRS) -> tuple[Pair, ...]:
    """Return up to ``count`` pairs, followed mechanisms and new classes first, of the highest confidences.

    A confidence is the geometric mean of the probabilities of both answers.
    """
    candidates = [pair for m in (Mechanism.TEXTURE, Mechanism.BACKGROUND) for pair in _candidates(answers, m)]
    followed = {name for name in follows if name != BOTH}
    candidates.sort(key=lambda pair: (pair.mechanism not in followed, -_confidence(pair), pair.row))
    seen, ranked = dict[tuple[bool, int], int](), []
    for pair in candidates:
        key = pair.mechanism in followed, pair.new_label
        seen[key] = seen.get(key, 0) + 1
        ranked.append((not key[0], seen[key], pair))
    ranked.sort(key=lambda entry: entry[:2])
    return tuple(pair for *_, pair in ranked[:count])


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
