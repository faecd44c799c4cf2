"""Rows of a recording: the pictures of a mechanism with their labels and, where it lies inside, their noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.arrays import ENDINGS, ArrayFile
from skdcgn.data.recorded_labels import LabelRow, read_label_table
from skdcgn.data.recorded_pictures import Pictures

WHOLE = "whole pictures, which are of no mechanism: make a photo CGN of them by skdcgn segment and skdcgn photos"


@dataclass(frozen=True)
class RecordedRows:
    """Pictures of one mechanism with a label, as a word, for each.

    ``places`` are the rows (N,) of a common table, to which an array of noise belongs, and ``table`` counts its rows.
    """

    pictures: Pictures
    words: Sequence[str]
    places: Tensor
    table: int
    noise: Tensor | None = None


def must_be_complete(pictures: Path, mechanisms: set[Mechanism]) -> None:
    missing = [m for m in Mechanism if m not in mechanisms]
    if len(missing) == len(Mechanism):
        raise UserError(f"{pictures} holds {WHOLE}, or sort them into shape, texture and background")
    if missing:
        raise UserError(f"{pictures} has no {' and no '.join(missing)}: record all three mechanisms")


def label_table(labels: Path) -> list[LabelRow]:
    if labels.suffix.lower() in ENDINGS:
        arrays = ArrayFile(labels)
        name = next(iter(arrays.infos()), "")
        return [LabelRow(word) for word in label_words(arrays, name)]
    return read_label_table(labels)


def label_words(file: ArrayFile, name: str) -> list[str]:
    """Return labels (N,) of whole numbers as words."""
    values = file.read(name) if len(file.infos()[name].shape) == 1 else torch.empty(0)
    if values.ndim != 1 or values.is_floating_point() or not len(values):
        raise UserError(f"{file.path}: {name or 'its array'} is no row of labels: save whole numbers (N,)")
    return list(map(str, values.tolist()))


def noise_matrix(file: ArrayFile, name: str) -> Tensor:
    """Return noise (N, Z) as float32."""
    shape = file.infos()[name].shape
    if len(shape) != 2 or not all(shape):
        raise UserError(f"{file.path}: {name or 'its array'} has shape {shape}: noise is (N, Z)")
    return file.read(name).float()
