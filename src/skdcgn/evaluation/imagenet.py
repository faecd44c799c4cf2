"""What a classifier of photographs follows: ImageNet's top-k, shape bias on cue conflicts, ImageNet-9's gap.

All are counted image by image, so that the size of the last batch changes nothing. The folders are those of the public
data sets: ``VAL/n01440764/x.JPEG``; ``CUES/airplane/airplane1-bear2.png`` (Geirhos et al., ICLR 2019);
``IN9/mixed_rand/val/00_dog/x.JPEG`` (Xiao et al., "Noise or Signal", ICLR 2021).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.classifiers.ensemble import WORKERS, Ensemble
from skdcgn.data.categories import CATEGORIES, averages
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.photos import Photos, in_batches, list_photos, middle_crop
from skdcgn.evaluation.scores import HeadScores

Logits = Callable[[Tensor], dict[str, Tensor]]  # images (B, 3, S, S) in [-1, 1] -> logits (B, K) by name, on the CPU
BATCH = 64
CUES = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")
NINE, SAME, RANDOM = 9, "mixed_same", "mixed_rand"
NINE_FILE = "in_to_in9.json"
GAP = "BG-gap"


class Share(NamedTuple):
    """How many of how many images."""

    right: int
    images: int

    @property
    def percent(self) -> float:
        return 100 * self.right / self.images


class ShapeBias(NamedTuple):
    """Decisions for the shape's and for the texture's category, of all images whose cues disagree."""

    shape: int
    texture: int
    images: int

    @property
    def percent(self) -> float:
        """100 shape / (shape + texture); NaN where neither was ever decided for."""
        decided = self.shape + self.texture
        return 100 * self.shape / decided if decided else float("nan")


class Cues(NamedTuple):
    """Files (N), and the categories (N,) int64 of their shapes and textures, which differ in each."""

    files: list[str]
    shapes: Tensor
    textures: Tensor


def logits_of(ensemble: Ensemble) -> Logits:
    """Return the logits of the ``ensemble``, which are the mean of its heads', and of each head by its mechanism."""
    device = next(ensemble.parameters()).device
    ensemble.eval()

    def logits(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            heads = ensemble(images.to(device)).cpu()  # (3, B, K)
        return {"ensemble": heads.mean(0), **dict(zip((m.value for m in Mechanism), heads, strict=True))}

    return logits


def _seen(logits: Logits, files: Sequence[str], read: Callable[[str], Tensor]) -> Iterator[tuple[slice, str, Tensor]]:
    """Yield rows, a name and its logits (B, K), batch by batch."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for rows, images in in_batches(files, read, BATCH, pool):
            for name, told in logits(as_unit(images)).items():
                yield rows, name, told


def top_k(logits: Logits, photos: Photos, size: int, ks: tuple[int, ...] = (1, 5)) -> dict[str, dict[int, Share]]:
    """Count images whose class is among the k likeliest, by name and k; each is seen through its middle crop.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by name.
        photos: labelled as the classifier numbers its classes (``list_photos(folder, names)``).
    """
    right: dict[str, dict[int, int]] = {}
    for rows, name, told in _seen(logits, photos.files, partial(middle_crop, size=size)):
        hits = told.topk(min(max(ks), told.shape[1])).indices == photos.labels[rows, None]  # (B, k)
        counts = right.setdefault(name, dict.fromkeys(ks, 0))
        for k in ks:
            counts[k] += int(hits[:, :k].sum())
    return {name: {k: Share(n, len(photos.files)) for k, n in counts.items()} for name, counts in right.items()}


def list_cues(folder: Path) -> Cues:
    """List the cue conflicts of a folder with one sub-folder per shape's category; cues that agree are left out.

    Raises:
        UserError: no such layout, a file whose name does not tell its cues, or no conflict at all.
    """
    numbers, files, cues = {name: index for index, name in enumerate(CATEGORIES)}, [], []
    for file in list_photos(folder, list(CATEGORIES)).files:
        shape, texture = _cues_of(Path(file))
        if shape != texture:
            files.append(file)
            cues.append((numbers[shape], numbers[texture]))
    if not files:
        raise UserError(f"{folder} holds no image whose shape and texture disagree: pass the cue-conflict stimuli")
    shapes, textures = torch.tensor(cues).unbind(1)
    return Cues(files, shapes, textures)


def _cues_of(file: Path) -> tuple[str, str]:
    named = CUES.fullmatch(file.stem)
    if not named or named[1] != file.parent.name or named[2] not in CATEGORIES:
        raise UserError(f"{file} does not tell its shape and texture: name it as airplane/airplane1-bear2.png")
    return named[1], named[2]


def shape_bias(logits: Logits, cues: Cues, names: Sequence[str], size: int) -> dict[str, ShapeBias]:
    """Count decisions for shape and texture, by name: shape bias = shape / (shape + texture) (Geirhos et al. 2019).

    A decision is the likeliest of the sixteen categories (:mod:`skdcgn.data.categories`).

    Args:
        names: of the classifier's classes, in its order: WordNet ids.
    """
    matrix, counts = averages(names), dict[str, list[int]]()
    for rows, name, told in _seen(logits, cues.files, lambda file: read_picture(Path(file), size)):
        decided = (told.softmax(1) @ matrix.T).argmax(1)
        count = counts.setdefault(name, [0, 0])
        for index, of in enumerate((cues.shapes, cues.textures)):
            count[index] += int((decided == of[rows]).sum())
    return {name: ShapeBias(shape, texture, len(cues.files)) for name, (shape, texture) in counts.items()}


def nine_of(path: Path, classes: int) -> Tensor:
    """Read which of the nine each class belongs to, (classes,) int64, -1 for none, from the data set's JSON.

    Raises:
        UserError: not a JSON object that gives every class, by its number, one of the nine or -1.
    """
    known = read_json(path)
    told = [known.get(str(index)) for index in range(classes)] if isinstance(known, dict) else []
    wrong = [index for index, value in enumerate(told) if value not in range(-1, NINE)]
    if wrong or len(told) != classes:
        raise UserError(
            f"{path} does not say which of the nine class {wrong[0] if wrong else 0} of {classes} is: pass the "
            f"{NINE_FILE} that belongs to ImageNet-9, and a classifier of ImageNet's thousand classes"
        )
    return torch.tensor(told)


def in9(logits: Logits, folder: Path, nine: Tensor, size: int) -> dict[str, dict[str, Share]]:
    """Count images right, by variant (each sub-folder with a ``val``) and name.

    Args:
        folder: ``original``, ``mixed_same``, ``mixed_rand`` and whichever others there are.
        nine: (K,) int64, which of the nine a class belongs to; a class of none is always wrong.

    Raises:
        UserError: no variant, or one without nine classes.
    """
    variants = sorted(path.parent for path in folder.glob("*/val") if path.is_dir())
    if not variants:
        raise UserError(f"{folder} has no mixed_rand/val or the like: pass the folder that ImageNet-9 unpacks to")
    listed = {variant.name: list_photos(variant / "val") for variant in variants}
    for name, photos in listed.items():
        if len(photos.names) != NINE:
            raise UserError(f"{folder / name / 'val'} has {len(photos.names)} sub-folders: ImageNet-9 has nine")
    return {name: _right(logits, photos, nine, size) for name, photos in listed.items()}


def _right(logits: Logits, photos: Photos, nine: Tensor, size: int) -> dict[str, Share]:
    right: dict[str, int] = {}
    for rows, name, told in _seen(logits, photos.files, lambda file: read_picture(Path(file), size)):
        right[name] = right.get(name, 0) + int((nine[told.argmax(1)] == photos.labels[rows]).sum())
    return {name: Share(count, len(photos.files)) for name, count in right.items()}


def gap(shares: dict[str, dict[str, Share]]) -> dict[str, float]:
    """Return accuracy(mixed_same) - accuracy(mixed_rand) in points, by name; empty where a variant is missing."""
    if not {SAME, RANDOM} <= shares.keys():
        return {}
    return {name: share.percent - shares[RANDOM][name].percent for name, share in shares[SAME].items()}


class Tests(NamedTuple):
    """What :func:`measure` measures by; None for what was not given."""

    photos: Photos | None
    cues: Cues | None
    in9: Path | None
    nine: Tensor | None


def open_tests(
    names: Sequence[str],
    *,
    images: Path | None = None,
    cue_conflict: Path | None = None,
    in9_folder: Path | None = None,
    in9_map: Path | None = None,
) -> Tests:
    """List the images of whatever folders are given.

    Args:
        names: of the ensemble's classes, in order.
        in9_map: which of the nine each class is. Default: ``in_to_in9.json`` in or beside ``in9_folder``; a classifier
            of nine classes needs none.

    Raises:
        UserError: a folder or the map is not what its data set has.
    """
    cues = list_cues(cue_conflict) if cue_conflict else None
    if cues:
        averages(names)
    return Tests(
        list_photos(images, names) if images else None,
        cues,
        in9_folder,
        _nine(in9_folder, in9_map, len(names)) if in9_folder else None,
    )


def measure(ensemble: Ensemble, names: Sequence[str], size: int, tests: Tests) -> dict[str, HeadScores]:
    """Measure ``top-1``, ``top-5``, ``shape bias``, ImageNet-9's variants, ``BG-gap``: what there are images of.

    A shape bias is left out where neither shape nor texture was ever decided for.

    Args:
        names: of the ensemble's classes, in order.
        size: of the images that it sees, pixels of a side.
    """
    logits, told = logits_of(ensemble), dict[str, HeadScores]()
    if tests.photos:
        found = top_k(logits, tests.photos, size)
        for k in next(iter(found.values())):
            percent = {name: shares[k].percent for name, shares in found.items()}
            told[f"top-{k}"] = HeadScores(len(tests.photos.files), percent)
    if tests.cues:
        biases = shape_bias(logits, tests.cues, names, size)
        percent = {name: bias.percent for name, bias in biases.items() if bias.shape + bias.texture}
        told["shape bias"] = HeadScores(len(tests.cues.files), percent)
    if tests.in9 and tests.nine is not None:
        variants = in9(logits, tests.in9, tests.nine, size)
        for variant, by_name in variants.items():
            percent = {name: share.percent for name, share in by_name.items()}
            told[variant] = HeadScores(next(iter(by_name.values())).images, percent)
        if points := gap(variants):
            told[GAP] = HeadScores(told[RANDOM].images, points)
    return told


def _nine(folder: Path, path: Path | None, classes: int) -> Tensor:
    if path is None and classes == NINE:
        return torch.arange(NINE)
    beside = [folder / NINE_FILE, folder.parent / NINE_FILE]
    found = path or next((p for p in beside if os.path.exists(p)), None)
    if found is None:
        raise UserError(f"no {NINE_FILE} in or beside {folder}: pass the one that belongs to ImageNet-9 by --in9-map")
    return nine_of(found, classes)
