"""What somebody recorded of a black box: pictures of each mechanism, their labels and, where it is known, their noise.

Pictures lie in a folder of files, in arrays of an ``.npz`` or ``.safetensors`` file, or in a parquet file or a folder
of its shards. Labels and noise may lie inside or beside:

===================  ==================================================================================================
folder               sub-folders ``shape/``, ``texture/``, ``background/``, or a table with a column ``mechanism``;
                     labels from the table, else from a sub-folder per class in each mechanism's folder
arrays               ``shape``, ``texture``, ``background`` (N, C, H, W) or (N, H, W, C), masks also (N, H, W);
                     ``labels`` and ``noise`` of all, or ``shape_labels``, ``shape_noise``, ... of each
parquet              a column ``image`` with a column ``mechanism``, or a column of pictures per mechanism; ``label``,
                     ``noise``
===================  ==================================================================================================

A row of a table whose file lies in the folders of all mechanisms stands for these three pictures. Row i of an array of
noise belongs to row i of the table; without a table, to picture i of each mechanism, in the order of their names.
"""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from skdcgn.base.contents import files_digest
from skdcgn.base.door import is_file, is_folder, regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.records import digest
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.arrays import ENDINGS, ArrayFile
from skdcgn.data.recorded_arrays import array_rows
from skdcgn.data.recorded_folders import folder_rows
from skdcgn.data.recorded_labels import as_classes
from skdcgn.data.recorded_pictures import Pictures
from skdcgn.data.recorded_rows import RecordedRows, noise_matrix

NO_NOISE = "none"
PARQUET = ".parquet"


@dataclass(frozen=True)
class Recording:
    """Pictures, labels (N,) int64 and noise (N, Z) float32 of each mechanism, None if nobody recorded the noise.

    ``digest`` is that of the contents of all files; ``classes`` counts the classes, which may have ``names``.
    """

    pictures: dict[Mechanism, Pictures]
    labels: dict[Mechanism, Tensor] = field(repr=False)
    noise: dict[Mechanism, Tensor] | None = field(repr=False)
    classes: int
    names: tuple[str, ...]
    digest: str

    @property
    def image_size(self) -> int:
        return self.pictures[Mechanism.SHAPE].side


def open_recording(
    pictures: Path, labels: Path | None = None, noise: Path | str | None = None, *, size: int | None = None
) -> Recording:
    """Open a recording; pictures stay on the disk.

    Args:
        pictures: a folder of picture files, an ``.npz``, ``.safetensors`` or ``.parquet`` file, or a folder of parquet
            files.
        labels: a table of labels (:mod:`skdcgn.data.recorded_labels`), or an array of labels; None: inside, or
            sub-folders per class.
        noise: an ``.npy`` file (N, Z), or an ``.npz`` or ``.safetensors`` file with an array for each mechanism; None:
            inside; ``none``: nobody recorded it.
        size: pixels of a side that pictures are resized to; None: as they are.

    Raises:
        UserError: a mechanism, a label, a picture or the noise is missing, doubled, of another number or cannot be
            read; pictures have several sizes and ``size`` is None.
    """
    rows, names = _rows(pictures, labels, size)
    sides = {m: own.pictures.side for m, own in rows.items()}
    if len(set(sides.values())) > 1:
        words = ", ".join(f"{m} has {side}" for m, side in sides.items())
        raise UserError(f"{pictures}: pictures have several sizes ({words} pixels): pass --size {min(sides.values())}")
    classes = as_classes({m: own.words for m, own in rows.items()}, names)
    return Recording(
        pictures={m: own.pictures for m, own in rows.items()},
        labels=classes.labels,
        noise=_noise(pictures, rows, noise),
        classes=classes.count,
        names=classes.names,
        digest=digest([_contents(pictures), _contents(labels), NO_NOISE if noise == NO_NOISE else _contents(noise)]),
    )


def _rows(
    pictures: Path, labels: Path | None, size: int | None
) -> tuple[dict[Mechanism, RecordedRows], tuple[str, ...]]:
    if not (is_folder(pictures) or is_file(pictures)):
        raise UserError(
            f"no recording {pictures}: pass a folder of pictures, or an .npz, .safetensors or .parquet file"
        )
    parquet = sorted(pictures.glob(f"*{PARQUET}")) if is_folder(pictures) else [pictures]
    if parquet and parquet[0].suffix.lower() == PARQUET:
        from skdcgn.data.recorded_parquet import parquet_rows

        if labels is not None:
            raise UserError(f"--labels {labels}: the labels of {pictures} are in its column label: leave --labels out")
        return parquet_rows(parquet, pictures, size)
    if is_folder(pictures):
        return folder_rows(pictures, labels, size), ()
    return array_rows(pictures, labels, size), ()


def _noise(
    pictures: Path, rows: dict[Mechanism, RecordedRows], source: Path | str | None
) -> dict[Mechanism, Tensor] | None:
    """Return the noise of each mechanism's pictures; raise UserError if it is missing or of another number."""
    if source == NO_NOISE:
        return None
    if source is None:
        noise = {m: own.noise for m, own in rows.items() if own.noise is not None}
        if len(noise) < len(Mechanism):
            raise UserError(f"{pictures} holds no noise: pass --noise FILE, or --noise none to find codes instead")
        origin = pictures
    else:
        origin = Path(source)
        noise = _noise_of_file(origin, rows)
    for mechanism, values in noise.items():
        count = len(rows[mechanism].words)
        if len(values) != count:
            raise UserError(f"{origin}: {len(values)} rows of noise for {count} pictures of {mechanism}: mend it")
        if not bool(values.isfinite().all()):
            raise UserError(f"{origin}: the noise of {mechanism} holds NaN or infinity: mend it")
    if len(lengths := {values.shape[1] for values in noise.values()}) > 1:
        raise UserError(
            f"{origin}: noise has {sorted(lengths)} numbers in several mechanisms: give all the same number"
        )
    return noise


def _noise_of_file(path: Path, rows: dict[Mechanism, RecordedRows]) -> dict[Mechanism, Tensor]:
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--noise {path}: pass an .npy, .npz or .safetensors file, or none")
    file = ArrayFile(path)
    names = list(file.infos())
    if set(Mechanism) <= set(names):
        return {m: noise_matrix(file, m.value) for m in rows}
    if len(names) != 1:
        raise UserError(f"{path} holds no array for each of shape, texture and background: save these, or one .npy")
    values = noise_matrix(file, names[0])
    for own in rows.values():
        if len(values) != own.table:
            raise UserError(f"{path}: {len(values)} rows of noise for {own.table} labels: mend it")
    return {m: values[own.places] for m, own in rows.items()}


def _contents(path: Path | str | None) -> str | None:
    """Return the digest of a file, or of all files of a folder."""
    if path is None:
        return None
    if is_folder(Path(path)):
        files = [str(file) for file in Path(path).rglob("*") if is_file(file) and not file.name.startswith(".")]
        return files_digest(Path(path), files)
    return sha256(regular_file(Path(path)))
