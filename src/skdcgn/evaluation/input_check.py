"""Whether a classifier reads pictures as it was trained to: does it decide better with another preprocess?"""

from dataclasses import replace

import torch
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.preprocess import PREPROCESSES, Preprocess
from skdcgn.evaluation.audit_answers import decide
from skdcgn.evaluation.audit_pictures import ALL_AGREE, BATCH, DrawnLayers, sample_trial
from skdcgn.metrics.intervals import ends, share_draws

BATCHES = 2
GAIN = 0.05  # of the accuracy, above which the lower end of its interval lies


def better_preprocess(classifier: AnyClassifier, cgn: Teacher, *, whole: bool = False, seed: int = 0) -> str | None:
    """Return a warning that names the preprocess with which a classifier decides clearly better, None without one.

    Args:
        classifier: decides among the CGN's classes, in their order.
        cgn: its pictures whose three labels agree are decided, ``BATCHES`` batches of them.
        whole: as an audit takes it.
        seed: of the pictures.
    """
    own = classifier.preprocess
    ways = [replace(way, bgr=bgr) for way in PREPROCESSES.values() for bgr in (False, True)]
    ways = [own, *(way for way in ways if _key(way) != _key(own))]
    right = torch.stack(_right(classifier, cgn, ways, seed, whole), dim=1)
    draws = share_draws(right, generator(seed, "input check"))
    gains = ends(draws[:, 1:] - draws[:, :1])[0]
    best = int(right[:, 1:].sum(0).argmax())  # the first of equals
    if float(gains[best]) < GAIN:
        return None
    before, after = (100 * float(right[:, column].double().mean()) for column in (0, best + 1))
    way = ways[best + 1]
    name = next(name for name, one in PREPROCESSES.items() if _key(replace(way, bgr=False)) == _key(one))
    words = f"--preprocess {name}{' --bgr' if way.bgr else ''}"
    return (
        f"with {words} the classifier is right in {after:.0f} % of pictures whose three labels agree, instead of "
        f"{before:.0f} % with preprocess {own}: pass {words} if it was trained so"
    )


def _key(way: Preprocess) -> tuple[object, ...]:
    return way.mean, way.deviation, way.bgr


def _right(classifier: AnyClassifier, cgn: Teacher, ways: list[Preprocess], seed: int, whole: bool) -> list[Tensor]:
    """Return, for each way, (N,) bool: the decision is the class that all labels have."""
    right = list[list[Tensor]]([] for _ in ways)
    for index in range(BATCHES):
        trial = sample_trial(cgn.spec, BATCHES * BATCH, index, seed, whole=whole)
        images = DrawnLayers(cgn, trial).picture(ALL_AGREE)
        for row, way in zip(right, ways, strict=True):
            other = replace(classifier, preprocess=way)
            row.append(decide(other.probabilities, images, cgn.spec.classes)[0] == trial.new_labels)
    return [torch.cat(row) for row in right]
