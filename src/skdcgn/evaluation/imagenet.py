"""Metrics of a classifier of photographs: ImageNet's top-k, shape bias on cue conflicts, ImageNet-9's BG-gap.

All are counted image by image, independent of the batch size. The folders are those of the public data sets:
``VAL/n01440764/x.JPEG``; ``CUES/airplane/airplane1-bear2.png`` (Geirhos et al., ICLR 2019);
``IN9/mixed_rand/val/00_dog/x.JPEG`` (Xiao et al., "Noise or Signal", ICLR 2021).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from skdcgn.cgn.classes import Classes
from skdcgn.classifiers.ensemble import Ensemble
from skdcgn.data.categories import covered
from skdcgn.data.folders import list_photos
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import middle_crop
from skdcgn.evaluation.heads import BATCH, Logits, batch_logits, head_logits, square_picture
from skdcgn.evaluation.in9 import find_in9_map, in9_variants, log_variants
from skdcgn.evaluation.scores import BG_GAP, MIXED_RAND, MIXED_SAME, SHAPE_BIAS, CueCounts, CueDecisions, HeadScores
from skdcgn.evaluation.shape_bias import CueConflicts, conflicts_among, list_cue_conflicts, shape_bias


class Share(NamedTuple):
    """How many of how many images are right."""

    correct: int
    images: int

    @property
    def percent(self) -> float:
        return 100 * self.correct / self.images


class ChallengeSets(NamedTuple):
    """The image sets of :func:`measure_ensemble`; None for a set that is not available."""

    photos: PhotoFiles | None
    cues: CueConflicts | None
    in9: dict[str, PhotoFiles] | None
    in9_map: Tensor | None

    @property
    def files(self) -> list[str]:
        """Return the paths of the images of all sets."""
        variants = self.in9.values() if self.in9 else ()
        return [file for part in (self.photos, self.cues, *variants) if part for file in part.files]


def top_k(
    logits: Logits, photos: PhotoFiles, size: int, ks: tuple[int, ...] = (1, 5), *, batch_size: int = BATCH
) -> dict[str, dict[int, Share]]:
    """Count images whose class is among the k likeliest, by head and k, on the middle crop of each.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        photos: labelled as the classifier numbers its classes (``list_photos(folder, classes)``).
        size: pixels of a side of the crops.
        ks: which k.
        batch_size: images at once.
    """
    correct: dict[str, dict[int, int]] = {}
    for rows, head, values in batch_logits(logits, photos.files, partial(middle_crop, size=size), batch_size):
        hits = values.topk(min(max(ks), values.shape[1])).indices == photos.labels[rows, None]  # (B, k)
        counts = correct.setdefault(head, dict.fromkeys(ks, 0))
        for k in ks:
            counts[k] += int(hits[:, :k].sum())
    return {head: {k: Share(n, len(photos.files)) for k, n in counts.items()} for head, counts in correct.items()}


def in9_accuracy(
    logits: Logits, variants: Mapping[str, PhotoFiles], in9_map: Tensor, size: int, *, batch_size: int = BATCH
) -> dict[str, dict[str, Share]]:
    """Count correct images, by variant and head.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        variants: ``original``, ``mixed_same``, ``mixed_rand``, ... (:func:`skdcgn.evaluation.in9.in9_variants`).
        in9_map: (K,) int64, which of the nine classes a class belongs to; a class of none is always wrong.
        size: pixels of a side of the images.
        batch_size: images at once.
    """
    return {name: _in9_shares(logits, photos, in9_map, size, batch_size) for name, photos in variants.items()}


def _in9_shares(logits: Logits, photos: PhotoFiles, in9_map: Tensor, size: int, batch_size: int) -> dict[str, Share]:
    correct: dict[str, int] = {}
    for rows, head, values in batch_logits(logits, photos.files, partial(square_picture, size=size), batch_size):
        correct[head] = correct.get(head, 0) + int((in9_map[values.argmax(1)] == photos.labels[rows]).sum())
    return {head: Share(count, len(photos.files)) for head, count in correct.items()}


def bg_gap(shares: dict[str, dict[str, Share]]) -> dict[str, float | None]:
    """Return accuracy(mixed_same) - accuracy(mixed_rand) in points, by head; empty if a variant is missing."""
    if not {MIXED_SAME, MIXED_RAND} <= shares.keys():
        return {}
    return {head: share.percent - shares[MIXED_RAND][head].percent for head, share in shares[MIXED_SAME].items()}


def open_challenges(
    own: Classes | Sequence[str],
    *,
    images: Path | None = None,
    cue_conflict: Path | None = None,
    in9_folder: Path | None = None,
    in9_map: Path | None = None,
) -> ChallengeSets:
    """List the images of the folders that are given.

    Args:
        own: the classes of a classifier, or the names of an ensemble's, in order.
        images: labelled photographs, for top-k.
        cue_conflict: the cue-conflict stimuli, for shape bias; those between categories that the classifier has classes
            for are kept.
        in9_folder: ImageNet-9, for BG-gap.
        in9_map: JSON of which of the nine classes each class is. Default: ``in_to_in9.json`` in ``in9_folder`` or in
            its parent; a classifier of nine classes needs none.

    Raises:
        UserError: a folder or the map has another layout than its data set, or no cues conflict between two categories
            that the classifier has classes for.
    """
    own = own if isinstance(own, Classes) else Classes("the ensemble", len(own), tuple(own))
    cues = conflicts_among(list_cue_conflicts(cue_conflict), covered(own.words)) if cue_conflict else None
    photos = list_photos(images, own) if images else None
    if in9_folder is None:
        return ChallengeSets(photos, cues, None, None)
    variants = in9_variants(in9_folder)
    log_variants(in9_folder)
    return ChallengeSets(photos, cues, variants, find_in9_map(in9_folder, in9_map, own))


def measure_ensemble(
    ensemble: Ensemble, names: Sequence[str], size: int, challenges: ChallengeSets
) -> dict[str, HeadScores]:
    """Measure an ensemble and each of its heads (:func:`measure_logits`)."""
    return measure_logits(head_logits(ensemble), names, size, challenges)


def measure_logits(logits: Logits, names: Sequence[str], size: int, challenges: ChallengeSets) -> dict[str, HeadScores]:
    """Measure ``top-1``, ``top-5``, ``shape bias``, ImageNet-9's variants and ``BG-gap``, on the sets available.

    The shape bias of a head without a decision for either shape or texture is None.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        names: of the classes, in order.
        size: pixels of a side of the images.
        challenges: the image sets; see :func:`open_challenges`.
    """
    scores = dict[str, HeadScores]()
    if challenges.photos:
        scores |= _top_k_scores(top_k(logits, challenges.photos, size))
    if challenges.cues:
        scores[SHAPE_BIAS] = _bias_scores(logits, challenges.cues, names, size)
    if challenges.in9 and challenges.in9_map is not None:
        scores |= _in9_scores(in9_accuracy(logits, challenges.in9, challenges.in9_map, size))
    return scores


def _bias_scores(logits: Logits, cues: CueConflicts, names: Sequence[str], size: int) -> HeadScores:
    biases = shape_bias(logits, cues, names, size)
    decisions = {head: CueDecisions(bias.shape, bias.texture) for head, bias in biases.items()}
    percent = {head: bias.percent for head, bias in biases.items()}
    return HeadScores(len(cues.files), percent, CueCounts(decisions, covered(names), cues.left_out))


def _top_k_scores(shares: dict[str, dict[int, Share]]) -> dict[str, HeadScores]:
    ks = next(iter(shares.values()))
    return {f"top-{k}": _scores({head: by_k[k] for head, by_k in shares.items()}) for k in ks}


def _in9_scores(variants: dict[str, dict[str, Share]]) -> dict[str, HeadScores]:
    scores = {variant: _scores(shares) for variant, shares in variants.items()}
    if points := bg_gap(variants):
        scores[BG_GAP] = HeadScores(scores[MIXED_RAND].images, points)
    return scores


def _scores(shares: dict[str, Share]) -> HeadScores:
    images = next(iter(shares.values())).images
    return HeadScores(images, {head: share.percent for head, share in shares.items()})
