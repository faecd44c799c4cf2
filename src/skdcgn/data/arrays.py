"""The door for arrays that others saved, in ``.npy``, ``.npz`` and ``.safetensors`` files, read a few rows at a time.

The format of ``.npy``: a header that states type, order and shape, then the numbers; an ``.npz`` is a ZIP archive of
such files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Nothing is unpickled.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.arrays import DAMAGE, read_header
from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError, shortened
from skdcgn.base.tensors import TYPES, open_tensors

MOST_BYTES = 2**31  # of noise or labels, and of one row of pictures
MOST_ROWS = 2**31
KINDS = "biuf"  # of NumPy's types: bool, whole numbers, floats
ENDINGS = (".npy", ".npz", ".safetensors")


class ArrayInfo(NamedTuple):
    """Type, as NumPy names it, and shape of an array."""

    dtype: str
    shape: tuple[int, ...]


class _Npy(NamedTuple):
    """An open ``.npy``: its numbers come next in the stream."""

    stream: IO[bytes]
    dtype: np.dtype
    shape: tuple[int, ...]

    def rows(self, count: int) -> Tensor:
        """Return the next rows."""
        size = count * prod(self.shape[1:]) * self.dtype.itemsize
        data = self.stream.read(size)
        if len(data) != size:
            raise EOFError("it ends before its last row")
        array = np.frombuffer(bytearray(data), self.dtype).reshape(count, *self.shape[1:])
        array = array.astype(self.dtype.newbyteorder("="), copy=False)
        wide = {"u2": "i4", "u4": "i8", "u8": "i8"}.get(array.dtype.str[1:])
        return torch.from_numpy(array.astype(wide) if wide else array)


@dataclass(frozen=True)
class ArrayFile:
    """A file of named arrays; an ``.npy`` has one, whose name is empty."""

    path: Path

    def infos(self) -> dict[str, ArrayInfo]:
        """Return type and shape of each array by name; raise UserError if the file is damaged."""
        with self._damage():
            return dict(self._infos())

    def read(self, name: str) -> Tensor:
        """Return a whole array of noise or labels."""
        parts = list(self.batches(name, None))
        return parts[0]

    def batches(self, name: str, size: int | None) -> Iterator[Tensor]:
        """Yield ``size`` rows at a time, all rows for None; raise UserError if the file is damaged."""
        if self.path.suffix.lower() == ".safetensors":
            yield from self._slices(name, size)
            return
        with self._damage(), self._open(name) as array:
            count = array.shape[0]
            step = size or max(1, count)
            if step * prod(array.shape[1:]) * array.dtype.itemsize > MOST_BYTES:
                raise UserError(f"{self.path}: {name or 'its array'} is too large: at most 2 GiB are read at once")
            for start in range(0, max(1, count), step):
                yield array.rows(min(step, count - start))

    def _slices(self, name: str, size: int | None) -> Iterator[Tensor]:
        with open_tensors(self.path) as file:
            part = file.get_slice(name)
            if part.get_dtype() not in TYPES:
                raise UserError(f"{self.path}: {name} holds {part.get_dtype()}: save uint8, int64 or float32")
            count = part.get_shape()[0]
            step = size or max(1, count)
            for start in range(0, max(1, count), step):
                yield part[start : start + step]

    def _infos(self) -> Iterator[tuple[str, ArrayInfo]]:
        if self.path.suffix.lower() == ".safetensors":
            with open_tensors(self.path) as file:
                for name in file.keys():  # noqa: SIM118  # not a dict
                    part = file.get_slice(name)
                    yield name, ArrayInfo(part.get_dtype(), tuple(part.get_shape()))
            return
        for name in self._names():
            with self._open(name) as array:
                yield name, ArrayInfo(str(array.dtype), array.shape)

    def _names(self) -> list[str]:
        if self.path.suffix.lower() == ".npy":
            return [""]
        with zipfile.ZipFile(regular_file(self.path)) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    @contextmanager
    def _open(self, name: str) -> Iterator[_Npy]:
        if self.path.suffix.lower() == ".npy":
            with regular_file(self.path).open("rb") as stream:
                yield self._header(stream, name)
            return
        with zipfile.ZipFile(regular_file(self.path)) as archive, archive.open(f"{name}.npy") as stream:
            yield self._header(stream, name)

    def _header(self, stream: IO[bytes], name: str) -> _Npy:
        shape, fortran, dtype = read_header(stream)
        where = f"{self.path}{name and ': '}{name}"
        if dtype.hasobject or dtype.kind not in KINDS or dtype.itemsize > 8:
            raise UserError(f"{where} holds {shortened(str(dtype))}: save uint8, int64 or float32")
        if fortran and len(shape) > 1:
            raise UserError(f"{where} is in Fortran's order: save numpy.ascontiguousarray of it")
        if not shape or not all(1 <= length <= MOST_ROWS for length in shape):
            raise UserError(
                f"{where} has shape {shortened(str(shape))}: its first dimension must count rows, and none may be 0"
            )
        return _Npy(stream, dtype, shape)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise UserError(
                f"{self.path} is no whole {self.path.suffix.lower()} file ({shortened(str(error))}): write it again"
            ) from None
