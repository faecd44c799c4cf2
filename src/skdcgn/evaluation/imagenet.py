"""Metrics of a classifier of photographs: ImageNet's top-k, shape bias on cue conflicts, ImageNet-9's BG-gap.

All are counted image by image, independent of the batch size. The folders are those of the public data sets:
``VAL/n01440764/x.JPEG``; ``CUES/airplane/airplane1-bear2.png`` (Geirhos et al., ICLR 2019);
``IN9/mixed_rand/val/00_dog/x.JPEG`` (Xiao et al., "Noise or Signal", ICLR 2021).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.door import read_json
from skdcgn.base.errors import UserError
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.classifiers.ensemble import Ensemble
from skdcgn.data.categories import averages
from skdcgn.data.folders import list_photos
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import middle_crop
from skdcgn.evaluation.heads import BATCH, Logits, batch_logits, head_logits, square_picture
from skdcgn.evaluation.scores import HeadScores
from skdcgn.evaluation.shape_bias import CueConflicts, list_cue_conflicts, shape_bias

IN9_CLASSES, MIXED_SAME, MIXED_RAND = 9, "mixed_same", "mixed_rand"
IN9_MAP = "in_to_in9.json"
BG_GAP = "BG-gap"


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
    in9: Path | None
    in9_map: Tensor | None


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


def read_in9_map(path: Path, own: Classes) -> Tensor:
    """Read which of the nine classes each class belongs to, (classes,) int64, -1 for none, from the data set's JSON.

    Args:
        path: a JSON object from numbers of classes to one of the nine or -1. ImageNet-9's own has the numbers of
            ImageNet's thousand classes, of which the classifier's are found by their WordNet ids; one of as many
            entries as the classifier has classes has the classifier's numbers.
        own: the classifier's classes.

    Raises:
        UserError: not such an object, or one that leaves out a class.
    """
    values = read_json(path)
    keys = _map_keys(own, len(values)) if isinstance(values, dict) else []
    numbers = [values.get(key) for key in keys]
    wrong = [index for index, value in enumerate(numbers) if value not in range(-1, IN9_CLASSES)]
    if wrong or not numbers:
        index = wrong[0] if wrong else 0
        raise UserError(
            f"{path} does not state which of ImageNet-9's classes class {index} of {own.count} is "
            f"({own.words[index]}): pass ImageNet-9's {IN9_MAP} and a classifier whose classes are named by WordNet ids"
        )
    return torch.tensor(numbers)


def _map_keys(own: Classes, entries: int) -> list[str]:
    """Return the keys of the classes in a map of so many entries; none that fits for a class that it does not name."""
    if entries == len(WORDNET_IDS):
        numbers = {name: number for number, name in enumerate(WORDNET_IDS)}
        return [str(numbers.get(name)) for name in own.words]
    return [str(number) for number in range(own.count)] if entries <= own.count else []


def in9_accuracy(
    logits: Logits, folder: Path, in9_map: Tensor, size: int, *, batch_size: int = BATCH
) -> dict[str, dict[str, Share]]:
    """Count correct images, by variant (each sub-folder with a ``val``) and head.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        folder: of the variants: ``original``, ``mixed_same``, ``mixed_rand``, ...
        in9_map: (K,) int64, which of the nine classes a class belongs to; a class of none is always wrong.
        size: pixels of a side of the images.
        batch_size: images at once.

    Raises:
        UserError: no variant, or one without nine classes.
    """
    variants = in9_variants(folder)
    return {name: _in9_shares(logits, photos, in9_map, size, batch_size) for name, photos in variants.items()}


def in9_variants(folder: Path) -> dict[str, PhotoFiles]:
    """List the pictures of each of ImageNet-9's variants; raise UserError if there is none, or one of other classes."""
    variants = sorted(path.parent for path in folder.glob("*/val") if path.is_dir())
    if not variants:
        raise UserError(f"{folder} has no folder such as mixed_rand/val: pass the folder that ImageNet-9 unpacks to")
    photos_of = {variant.name: list_photos(variant / "val") for variant in variants}
    for name, photos in photos_of.items():
        if len(photos.names) != IN9_CLASSES:
            raise UserError(f"{folder / name / 'val'} has {len(photos.names)} sub-folders: ImageNet-9 has nine")
    return photos_of


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
    names: Sequence[str],
    *,
    images: Path | None = None,
    cue_conflict: Path | None = None,
    in9_folder: Path | None = None,
    in9_map: Path | None = None,
) -> ChallengeSets:
    """List the images of the folders that are given.

    Args:
        names: of the ensemble's classes, in order.
        images: labelled photographs, for top-k.
        cue_conflict: the cue-conflict stimuli, for shape bias.
        in9_folder: ImageNet-9, for BG-gap.
        in9_map: JSON of which of the nine classes each class is. Default: ``in_to_in9.json`` in ``in9_folder`` or in
            its parent; a classifier of nine classes needs none.

    Raises:
        UserError: a folder or the map has another layout than its data set.
    """
    cues = list_cue_conflicts(cue_conflict) if cue_conflict else None
    if cues:
        averages(names)
    own = Classes("the ensemble", len(names), tuple(names))
    return ChallengeSets(
        list_photos(images, own) if images else None,
        cues,
        in9_folder,
        _find_in9_map(in9_folder, in9_map, own) if in9_folder else None,
    )


def in9_map_file(folder: Path) -> Path | None:
    """Return the map of ImageNet-9 in its folder or in its parent, None if there is none."""
    return next((file for file in (folder / IN9_MAP, folder.parent / IN9_MAP) if file.exists()), None)


def _find_in9_map(folder: Path, path: Path | None, own: Classes) -> Tensor:
    if path is None and own.count == IN9_CLASSES:
        names = next(iter(in9_variants(folder).values())).names
        nine, bare = (replace(own, names=tuple(map(_bare, part))) for part in (names, own.words))
        return match_classes(replace(nine, owner=str(folder)), bare, "pass a map of its classes by --in9-map")
    if file := path or in9_map_file(folder):
        return read_in9_map(file, own)
    raise UserError(f"no {IN9_MAP} in {folder} or its parent: pass ImageNet-9's own by --in9-map")


def _bare(name: str) -> str:
    """Return the name of one of the nine classes without its number, as ``dog`` for ``00_dog``."""
    return re.sub(r"^\d\d_", "", name)


def measure_ensemble(
    ensemble: Ensemble, names: Sequence[str], size: int, challenges: ChallengeSets
) -> dict[str, HeadScores]:
    """Measure ``top-1``, ``top-5``, ``shape bias``, ImageNet-9's variants and ``BG-gap``, on the sets available.

    The shape bias of a head without a decision for either shape or texture is None.

    Args:
        ensemble: the classifier.
        names: of its classes, in order.
        size: pixels of a side of its inputs.
        challenges: the image sets; see :func:`open_challenges`.
    """
    logits, scores = head_logits(ensemble), dict[str, HeadScores]()
    if challenges.photos:
        scores |= _top_k_scores(top_k(logits, challenges.photos, size))
    if challenges.cues:
        biases = shape_bias(logits, challenges.cues, names, size)
        percent = {head: bias.percent for head, bias in biases.items()}
        scores["shape bias"] = HeadScores(len(challenges.cues.files), percent)
    if challenges.in9 and challenges.in9_map is not None:
        scores |= _in9_scores(in9_accuracy(logits, challenges.in9, challenges.in9_map, size))
    return scores


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
