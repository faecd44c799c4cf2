"""Recordings that are arrays of an ``.npz`` or ``.safetensors`` file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.arrays import ArrayFile
from skdcgn.data.recorded_pictures import ArrayLayout, array_side, as_pictures, batch_size
from skdcgn.data.recorded_rows import RecordedRows, label_table, label_words, must_be_complete, noise_matrix

ARRAY_NAMES = {
    Mechanism.SHAPE: ("shape", "masks"),
    Mechanism.TEXTURE: ("texture", "textures"),
    Mechanism.BACKGROUND: ("background", "backgrounds"),
}


@dataclass(frozen=True)
class PictureArray:
    """Pictures in an array of a file."""

    mechanism: Mechanism
    file: ArrayFile
    name: str
    layout: ArrayLayout
    side: int

    def __len__(self) -> int:
        return self.layout.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.file.batches(self.name, batch_size(max(self.layout.size))):
            yield as_pictures(batch, self.layout, self.side)


def picture_array(
    file: ArrayFile, name: str, shape: tuple[int, ...], mechanism: Mechanism, size: int | None
) -> PictureArray:
    """Return the pictures in an array; raise UserError if its shape is not that of the mechanism's pictures."""
    layout = ArrayLayout(shape, mechanism, f"{file.path}: {name}")
    return PictureArray(mechanism, file, name, layout, array_side(layout, size))


def array_rows(path: Path, labels: Path | None, size: int | None) -> dict[Mechanism, RecordedRows]:
    if path.suffix.lower() not in (".npz", ".safetensors"):
        raise UserError(f"{path} is no recording: pass a folder of pictures, or an .npz, .safetensors or .parquet file")
    file, rows = ArrayFile(path), dict[Mechanism, RecordedRows]()
    infos = file.infos()
    names = {m: name for m, own in ARRAY_NAMES.items() for name in own if name in infos}
    must_be_complete(path, set(names))
    for mechanism, name in names.items():
        pictures = picture_array(file, name, infos[name].shape, mechanism, size)
        words, places, table = _labels_of_array(file, labels, mechanism, len(pictures))
        if len(words) != len(pictures):
            raise UserError(f"{labels or path}: {len(words)} labels for {len(pictures)} pictures of {name}: mend it")
        own = [key for key in (f"{mechanism}_noise", "noise") if key in infos][:1]
        noise = noise_matrix(file, own[0]) if own else None
        rows[mechanism] = RecordedRows(pictures, words, places, table, noise)
    return rows


def _labels_of_array(
    file: ArrayFile, labels: Path | None, mechanism: Mechanism, count: int
) -> tuple[list[str], Tensor, int]:
    """Return the labels of a mechanism's pictures, their rows in the table, and the number of its rows."""
    if labels is None:
        names = [name for name in (f"{mechanism}_labels", "labels", "label") if name in file.infos()]
        if not names:
            raise UserError(f"{file.path} has no labels: save an array labels, or pass --labels")
        return label_words(file, names[0]), torch.arange(count), count
    table = label_table(labels)
    if table[0].file is not None:
        raise UserError(f"{labels} names files, and {file.path} is one file: write a column label alone")
    places = [place for place, row in enumerate(table) if row.mechanism in (None, mechanism)]
    return [table[place].label for place in places], torch.tensor(places), len(table)
