"""Recordings in parquet, as Hugging Face's data sets write them.

A column of pictures holds the bytes of picture files, or structs {bytes, path} of which the bytes are read. The names
of classes, of which a column holds the numbers, are in the schema's metadata under ``huggingface``
(https://huggingface.co/docs/datasets/about_dataset_features).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record
from torch import Tensor

from skdcgn.base.door import parse_record, regular_file
from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.base.records import from_dict
from skdcgn.cgn.mechanism import Mechanism, as_mechanism
from skdcgn.data.decoding import decode_picture
from skdcgn.data.recorded_pictures import as_square, batch_size
from skdcgn.data.recorded_rows import RecordedRows, must_be_complete

IMAGE, LABEL, MECHANISM, NOISE = "image", "label", "mechanism", "noise"
MOST_GROUP = 2**31  # bytes of a row group, which is in memory at once
MOST_GROUPS = 10**5
READ_ROWS = 64
MEND = "write it again"
LENIENT = ConfigDict(extra="ignore")


@record(frozen=True, config=LENIENT)
class Feature:
    """A column as Hugging Face describes it: the names of its classes, if it has any."""

    names: tuple[str, ...] = ()


@record(frozen=True, config=LENIENT)
class Info:
    """The columns by name; those of other forms are left out."""

    features: dict[str, Any]


@record(frozen=True, config=LENIENT)
class Description:
    """The metadata ``huggingface`` of a schema."""

    info: Info


@dataclass(frozen=True)
class ParquetFiles:
    """The shards of a table, in the order of their names, read a few rows at a time."""

    paths: Sequence[Path]

    @cached_property
    def types(self) -> dict[str, str]:
        """The type of each column by name, as Arrow writes it; raise UserError if shards have several."""
        columns: dict[str, str] | None = None
        for path in self.paths:
            with _opened(path) as file:
                own = {part.name: str(part.type) for part in file.schema_arrow}
            if columns not in (None, own):
                raise UserError(f"{path} has other columns than {self.paths[0]}: record one table alone")
            columns = own
        return columns or {}

    def names(self, column: str) -> tuple[str, ...]:
        """Return the names of the classes that numbers of a column stand for; none if it has none."""
        with _opened(self.paths[0]) as file:
            text = (file.schema_arrow.metadata or {}).get(b"huggingface")
        if text is None:
            return ()
        origin = f"{self.paths[0]}: its metadata huggingface"
        feature = parse_record(text.decode(errors="replace"), Description, origin, MEND).info.features.get(column)
        if not isinstance(feature, dict) or not feature.get("names"):
            return ()
        return from_dict(Feature, {"names": feature["names"]}, f"{origin}, {column}", MEND).names

    def column(self, name: str) -> Iterator[Any]:
        """Yield the values of a column in order."""
        for path in self.paths:
            with _opened(path) as file:
                count = 0
                for batch in file.iter_batches(READ_ROWS, columns=[name], use_threads=False):
                    yield from batch.column(0).to_pylist()
                    count += len(batch)
                if count != file.metadata.num_rows:
                    raise ValueError(f"column {name} has {count} rows of {file.metadata.num_rows}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a shard; whatever pyarrow raises inside is a UserError with its path."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: parquet needs pyarrow: pip install 'skdcgn[parquet]'") from None
    try:
        with parquet.ParquetFile(regular_file(path)) as file:
            _check_groups(path, file.metadata)
            yield file
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is no whole parquet file ({shortened(str(error))}): {MEND}") from None


def _check_groups(path: Path, metadata: Any) -> None:
    if metadata.num_row_groups > MOST_GROUPS:
        raise UserError(f"{path} has more than {MOST_GROUPS:,} row groups: write fewer")
    for index in range(metadata.num_row_groups):
        if metadata.row_group(index).total_byte_size > MOST_GROUP:
            raise UserError(f"{path} has a row group of more than 2 GiB: write it with row_group_size=1000")


@dataclass(frozen=True)
class ParquetPictures:
    """The pictures in some rows of a column."""

    mechanism: Mechanism
    files: ParquetFiles
    name: str
    rows: frozenset[int]
    size: int | None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def side(self) -> int:
        """Pixels of a side: ``size``, or those of the first picture."""
        if self.size:
            return self.size
        row, value = next(self._values())
        return decode_picture(_bytes(value, self._origin(row)), self._origin(row)).width

    def __iter__(self) -> Iterator[Tensor]:
        batch, most = list[Tensor](), batch_size(self.side)
        for row, value in self._values():
            origin = self._origin(row)
            picture = decode_picture(_bytes(value, origin), origin)
            batch.append(as_square(picture, self.mechanism, self.side, origin, resize=self.size is not None))
            if len(batch) == most:
                yield torch.stack(batch)
                batch.clear()
        if batch:
            yield torch.stack(batch)

    def _values(self) -> Iterator[tuple[int, Any]]:
        return ((row, value) for row, value in enumerate(self.files.column(self.name)) if row in self.rows)

    def _origin(self, row: int) -> str:
        return f"{self.files.paths[0]}: {self.name} of row {row}"


def _bytes(value: Any, origin: str) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise UserError(f"{origin} holds no bytes of a picture: embed the pictures when you write the table")
    return data


def parquet_rows(
    paths: Sequence[Path], origin: Path, size: int | None
) -> tuple[dict[Mechanism, RecordedRows], tuple[str, ...]]:
    """Return the rows of each mechanism, and the names of the classes if labels are numbers that have names.

    Args:
        paths: of the shards.
        origin: file or folder that an error names.
        size: pixels of a side that pictures are resized to; None: as they are.

    Raises:
        UserError: a column is missing or has empty cells, or a shard is damaged.
    """
    files = ParquetFiles(tuple(paths))
    words, noise = _labels(files, origin), _noise(files, origin)
    rows = {}
    for mechanism, (name, places) in _columns(files, origin, len(words)).items():
        pictures = ParquetPictures(mechanism, files, name, frozenset(places), size)
        own = None if noise is None else noise[places]
        rows[mechanism] = RecordedRows(pictures, [words[i] for i in places], torch.tensor(places), len(words), own)
    return rows, files.names(LABEL)


def _columns(files: ParquetFiles, origin: Path, count: int) -> dict[Mechanism, tuple[str, list[int]]]:
    """Return the column of each mechanism's pictures, and their rows."""
    if IMAGE not in files.types:
        must_be_complete(origin, {m for m in Mechanism if m in files.types})
        return {m: (m.value, list(range(count))) for m in Mechanism}
    names = files.names(MECHANISM)
    values = list(files.column(MECHANISM)) if MECHANISM in files.types else []
    words = [names[value] if isinstance(value, int) and 0 <= value < len(names) else str(value) for value in values]
    places = {m: [row for row, word in enumerate(words) if as_mechanism(word) is m] for m in Mechanism}
    must_be_complete(origin, {m for m, own in places.items() if own})
    return {m: (IMAGE, own) for m, own in places.items()}


def _labels(files: ParquetFiles, origin: Path) -> list[str]:
    if LABEL not in files.types:
        raise UserError(f"{origin} has no column label: add one of numbers or names")
    values = list(files.column(LABEL))
    for row, value in enumerate(values):
        if not isinstance(value, int | str) or value == "":
            raise UserError(f"{origin}: the label of row {row} is {shown(value)}: write a number or a name")
    if not values:
        raise UserError(f"{origin} has no rows: record some")
    return list(map(str, values))


def _noise(files: ParquetFiles, origin: Path) -> Tensor | None:
    if NOISE not in files.types:
        return None
    rows, length = list[Tensor](), None
    for row, value in enumerate(files.column(NOISE)):
        if not isinstance(value, list) or not value or length not in (None, len(value)):
            raise UserError(f"{origin}: the noise of row {row} is no list of {length or 'some'} numbers: mend it")
        if not all(isinstance(number, float | int) for number in value):
            raise UserError(f"{origin}: the noise of row {row} holds {shown(value[0])}: write numbers alone")
        length = len(value)
        rows.append(torch.tensor(value, dtype=torch.float32))
    return torch.stack(rows)
