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
from skdcgn.data.categories import CATEGORIES, averages, covered
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
    """Files (N), and the categories (N,) int64 of their shapes and textures, which differ in each.

    ``left_out``: how many conflicts of the folder are not among them (:func:`conflicts_among`).
    """

    files: list[str]
    shapes: Tensor
    textures: Tensor
    left_out: int = 0


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


def conflicts_among(cues: CueConflicts, categories: Sequence[str]) -> CueConflicts:
    """Return the conflicts whose two categories are both among these.

    Raises:
        UserError: there is none.
    """
    among = torch.tensor([name in categories for name in CATEGORIES])  # (16,)
    rows = (among[cues.shapes] & among[cues.textures]).nonzero().flatten().tolist()
    if not rows:
        raise UserError(
            f"no cue conflict is between two of {', '.join(categories)}, the only categories that the classifier has "
            "classes for: pass more of the stimuli, or measure without cue conflicts"
        )
    left_out = cues.left_out + len(cues.files) - len(rows)
    return CueConflicts([cues.files[row] for row in rows], cues.shapes[rows], cues.textures[rows], left_out)


def shape_bias(
    logits: Logits, cues: CueConflicts, names: Sequence[str], size: int, *, batch_size: int = BATCH
) -> dict[str, ShapeBias]:
    """Count decisions for shape and texture, by head: shape bias = shape / (shape + texture) (Geirhos et al. 2019).

    A decision is the likeliest of the sixteen categories (:mod:`skdcgn.data.categories`). A classifier without classes
    for some of them decides among the others, on the conflicts between these.

    Args:
        logits: images (B, 3, size, size) in [-1, 1] -> logits (B, K) by head.
        cues: the images.
        names: of the classifier's K classes, in its order: WordNet ids, or the categories' own names.
        size: pixels of a side of the images.
        batch_size: images at once.

    Raises:
        UserError: classes of fewer than two categories, or no conflict between two of them.
    """
    categories, counts = covered(names), dict[str, list[int]]()
    cues = conflicts_among(cues, categories)
    numbers = torch.tensor([list(CATEGORIES).index(name) for name in categories])
    matrix = averages(names)[numbers]
    for rows, head, values in batch_logits(logits, cues.files, partial(square_picture, size=size), batch_size):
        decisions = numbers[(values.softmax(1) @ matrix.T).argmax(1)]
        count = counts.setdefault(head, [0, 0])
        for index, cue in enumerate((cues.shapes, cues.textures)):
            count[index] += int((decisions == cue[rows]).sum())
    return {head: ShapeBias(shape, texture, len(cues.files)) for head, (shape, texture) in counts.items()}
