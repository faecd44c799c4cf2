"""The scores of several classifiers as the lines of a table: a metric, and for some a head of it, by classifier."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from skdcgn.evaluation.scores import BG_GAP, BY_HEAD, ENSEMBLE, HEADS, SHAPE_BIAS, SHAPE_TEXTURE, HeadScores, HeadValue

Scores = Mapping[str, HeadScores]  # by metric


class HeadLine(NamedTuple):
    """One metric of one head: its name, over how many images, and its value by classifier."""

    measure: str
    images: str
    values: list[HeadValue]


def head_lines(classifiers: Mapping[str, Scores]) -> list[HeadLine]:
    """Return a line per metric, and for :data:`BY_HEAD` a line per head that any of the classifiers has.

    Values of heads that a classifier lacks are ``not measured``.

    Args:
        classifiers: scores by metric, of classifiers that were measured alike.
    """
    return [
        HeadLine(
            f"{metric}, {head_words(head)}" if len(heads) > 1 else metric,
            f"{first.images:,}",
            [scores[metric].value(head) for scores in classifiers.values()],
        )
        for metric, first in next(iter(classifiers.values()), dict[str, HeadScores]()).items()
        for heads in [_heads(metric, classifiers.values())]
        for head in heads
    ]


def _heads(metric: str, classifiers: Iterable[Scores]) -> list[str]:
    """Return the heads that a table shows of a metric, in their order."""
    present = {head for scores in classifiers for head in scores[metric].percent}
    return [head for head in HEADS if head in present] if metric in BY_HEAD else [ENSEMBLE]


def head_sentences(metric: str, scores: HeadScores) -> Iterator[str]:
    """Yield a line per head, as ``shape: shape bias 24.1 %, 197 shape, 622 texture of 1,200 images``."""
    for head, value in scores.percent.items():
        unit = "" if value is None else " points" if metric == BG_GAP else " %"
        counted = f", {scores.cues.decisions[head]}" if scores.cues else ""
        yield f"{head}: {metric} {scores.text(head)}{unit}{counted} of {scores.images:,} images"


def classifier_sentence(metric: str, scores: HeadScores) -> str:
    """Return the score of a classifier of one head, as ``shape bias: 24.1 % (197 shape, 622 texture) of 9 images``."""
    value = scores.value(ENSEMBLE)
    unit = "" if scores.percent.get(ENSEMBLE) is None else " points" if metric == BG_GAP else " %"
    counted = f" ({value.decisions})" if value.decisions else ""
    return f"{metric}: {value.number}{unit}{counted} of {scores.images:,} images"


def head_words(head: str) -> str:
    """Return the name of a head in words: ``ensemble``, ``shape + texture heads``, ``shape head``."""
    return head if head == ENSEMBLE else f"{head} heads" if head == SHAPE_TEXTURE else f"{head} head"


def cue_scope(scores: Scores) -> str | None:
    """Say which categories a shape bias decides among and what it leaves out; None if it leaves out nothing."""
    bias = scores.get(SHAPE_BIAS)
    scope = bias.cues.scope if bias and bias.cues else None
    return scope and f"{SHAPE_BIAS}: {scope}"
