"""Named tensors in safetensors files: written atomically, checked when read, never unpickled."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError, shortened
from skdcgn.base.files import write_bytes

LARGEST = 2**62  # size of a dimension
DTYPES = {  # names of types, in the order in which a file holds tensors: by type, then by name
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
TYPES = {name: dtype for dtype, name in DTYPES.items()}


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write safetensors atomically; return the file's sha256."""
    data = tensors_to_bytes(tensors, metadata)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def tensors_to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return tensors by name as the bytes of a safetensors file."""
    return to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def parse_tensors(data: bytes, origin: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return every tensor and the metadata of a safetensors file in memory.

    Raises:
        UserError: it is damaged, or holds a type that is not in :data:`DTYPES`; the error names ``origin``.
    """
    try:
        tensors = {name: _tensor(**entry) for name, entry in deserialize(data)}
    except (SafetensorError, LookupError, MemoryError) as error:
        raise _damaged(origin, error) from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # sound, as deserialize has read it
    return tensors, header.get("__metadata__", {})


def _tensor(dtype: str, shape: list[int], data: bytes) -> Tensor:
    if max(shape, default=0) > LARGEST:
        raise LookupError("a dimension above 2^62")
    numbers = torch.frombuffer(data, dtype=TYPES[dtype]) if data else torch.empty(0, dtype=TYPES[dtype])
    return numbers.reshape(shape)


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file to read some of it; raise UserError if it is missing or damaged."""
    regular_file(path)
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError, MemoryError) as error:
        raise _damaged(path, error) from None
    with file:
        _check_shapes(path, file)
        try:
            yield file
        except SafetensorError as error:
            raise _damaged(path, error) from None


def _check_shapes(path: Path, file: Any) -> None:
    for name in file.keys():  # noqa: SIM118  # not a dict
        if max(file.get_slice(name).get_shape(), default=0) > LARGEST:  # of no numbers, by another dimension of 0
            raise _damaged(path, f"{name} has a dimension above 2^62")


def _damaged(origin: object, reason: object) -> UserError:
    return UserError(f"{origin} is not a whole safetensors file ({shortened(str(reason))}): fetch or write it again")


def read_rows(file: Any, name: str, rows: Tensor) -> Tensor:
    """Read some ``rows`` (B,) of a tensor in an open file, and no others."""
    part = file.get_slice(name)
    return torch.cat([part[row : row + 1] for row in rows.tolist()])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read every tensor and the metadata of a safetensors file; raise UserError if it is missing or damaged."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
