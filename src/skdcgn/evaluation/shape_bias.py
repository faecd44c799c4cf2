"""Shape bias: decisions on cue-conflict images, whose shape is of one category and whose texture of another.

The folder is that of the public stimuli, ``CUES/airplane/airplane1-bear2.png`` (Geirhos et al., ICLR 2019).
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.classes import Classes
from skdcgn.data.categories import CATEGORIES, averages
from skdcgn.data.folders import list_photos
from skdcgn.evaluation.heads import BATCH, Logits, batch_logits, square_picture

SIXTEEN = Classes("the set of sixteen categories", len(CATEGORIES), tuple(CATEGORIES))
CUES = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


class ShapeBias(NamedTuple):
    """Decisions for the shape's and for the texture's category, over all images whose cues disagree."""

    shape: int
    texture: int
    images: int

    @property
    def percent(self) -> float | None:
        """100 shape / (shape + texture); None if there is no decision for either."""
        decided = self.shape + self.texture
        return 100 * self.shape / decided if decided else None


class CueConflicts(NamedTuple):
    """Files (N), and the categories (N,) int64 of their shapes and textures, which differ in each."""

    files: list[str]
    shapes: Tensor
    textures: Tensor


def list_cue_conflicts(folder: Path) -> CueConflicts:
    """List the cue conflicts of a folder with one sub-folder per category of shapes, without images whose cues agree.

    Raises:
        UserError: another layout, a file whose name does not state its cues, or no conflict at all.
    """
    numbers, files, cues = {name: index for index, name in enumerate(CATEGORIES)}, [], []
    for file in list_photos(folder, SIXTEEN).files:
        shape, texture = _file_cues(Path(file))
        if shape != texture:
            files.append(file)
            cues.append((numbers[shape], numbers[texture]))
    if not files:
        raise UserError(f"{folder} holds no image whose shape and texture disagree: pass the cue-conflict stimuli")
    shapes, textures = torch.tensor(cues).unbind(1)
    return CueConflicts(files, shapes, textures)


def _file_cues(file: Path) -> tuple[str, str]:
    match = CUES.fullmatch(file.stem)
    if not match or match[1] != file.parent.name or match[2] not in CATEGORIES:
        raise UserError(f"the name of {file} does not state its shape and texture: use names as airplane1-bear2.png")
    return match[1], match[2]


def shape_bias(
    logits: Logits, cues: CueConflicts, names: Sequence[str], size: int, *, batch_size: int = BATCH
) -> dict[str, ShapeBias]:
    """Count decisions for shape and texture, by head: shape bias = shape / (shape + texture) (Geirhos et al. 2019).

    A decision is the likeliest of the sixteen categories (:mod:`skdcgn.data.categories`).

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        cues: the images.
        names: of the classifier's K classes, in its order: WordNet ids.
        size: pixels of a side of the images.
        batch_size: images at once.
    """
    matrix, counts = averages(names), dict[str, list[int]]()
    for rows, head, values in batch_logits(logits, cues.files, partial(square_picture, size=size), batch_size):
        decisions = (values.softmax(1) @ matrix.T).argmax(1)
        count = counts.setdefault(head, [0, 0])
        for index, categories in enumerate((cues.shapes, cues.textures)):
            count[index] += int((decisions == categories[rows]).sum())
    return {head: ShapeBias(shape, texture, len(cues.files)) for head, (shape, texture) in counts.items()}
