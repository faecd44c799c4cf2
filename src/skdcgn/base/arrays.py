"""Named arrays in the format of NumPy's ``savez``: read from memory, each size checked first, never unpickled.

An .npz is a zip of .npy files, each a header of type and shape and the numbers in order
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). ``numpy.load`` takes memory for the shape that
a header states, whatever follows it; here a header must fit the bytes behind it.
"""

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from skdcgn.base.errors import UserError, shortened

Array = np.ndarray[Any, np.dtype[Any]]
ENDING = ".npy"
MOST_ARRAYS = 64
DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
    *(EOFError, OSError, ValueError, RuntimeError, LookupError, ArithmeticError, MemoryError, SyntaxError, TypeError),
)
"""What zipfile and the parser of headers raise for damaged files."""


def arrays_to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays by name as the bytes of an .npz, not compressed."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def parse_arrays(data: bytes, origin: object, most: int) -> dict[str, Array]:
    """Return the arrays of an .npz by name; they cannot be written to.

    Args:
        data: the bytes of the file.
        origin: what an error names.
        most: bytes that the unpacked arrays may have together.

    Raises:
        UserError: it is no .npz, is damaged, holds Python objects, or unpacks to more than ``most`` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS or sum(member.file_size for member in members) > most:
                raise UserError(f"{origin} unpacks to more than {most:,} bytes: write a smaller file")
            return {member.filename.removesuffix(ENDING): _array(archive.read(member)) for member in members}
    except DAMAGE as error:
        raise UserError(f"{origin} is not a whole .npz ({shortened(str(error))}): fetch or write it again") from None


def _array(data: bytes) -> Array:
    """Return the array of a .npy; raise ValueError unless its header fits the bytes behind it."""
    file = io.BytesIO(data)
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.itemsize * prod(shape) != len(data) - file.tell():
        raise ValueError(f"{shape} of {dtype} in {len(data) - file.tell()} bytes")
    flat: Array = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


class Header(NamedTuple):
    """What a .npy states before its numbers; ``fortran``: the first index runs fastest."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of a .npy, up to its first number; raise ValueError, or another of DAMAGE, if it is none."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of .npy")
    return Header(*(npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream))
