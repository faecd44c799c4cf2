"""Safetensors files written a few rows at a time, with the bytes that ``safetensors.torch.save`` returns.

The format is the length of the header (8 bytes, little-endian), the header and the numbers of the tensors, one after
another. The header is JSON that gives type, shape and place of each tensor, padded by spaces to a multiple of 8 bytes
(https://github.com/huggingface/safetensors#format).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.files import replacing
from skdcgn.base.tensors import DTYPES

Append = Callable[[str, Tensor], None]  # the name of a tensor, its next rows


class Layout(NamedTuple):
    """Type and shape of a tensor; the first dimension counts its rows."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.dtype.itemsize


@contextmanager
def rows_to_tensors(
    path: Path, layouts: Mapping[str, Layout], metadata: Mapping[str, str] | None = None
) -> Iterator[Append]:
    """Yield a function that appends rows to a tensor of the file ``path``, which appears when the block succeeds.

    Memory does not grow with the size of the file. Tensors may be appended to in turn; by the end of the block each has
    all of its rows.

    Args:
        path: the file; a former one keeps its bytes until the block succeeds.
        layouts: of the tensors, by name.
        metadata: strings by name.

    Raises:
        UserError: the disk has less space than the file needs, or refuses it.
        ValueError: rows of another type or shape, too many or too few.
    """
    header, places = _header(layouts, metadata)
    ends = {name: place + layouts[name].size for name, place in places.items()}
    with replacing(path) as file:
        _check_space(path, file.fileno(), max(ends.values()))
        file.write(header)

        def append(name: str, rows: Tensor) -> None:
            data = _bytes(name, rows, layouts[name])
            if places[name] + len(data) > ends[name]:
                raise ValueError(f"{name} has more than {layouts[name].shape[0]:,} rows")
            file.seek(places[name])
            file.write(data)
            places[name] += len(data)

        yield append
        if places != ends:
            raise ValueError(f"rows are missing in {', '.join(name for name in ends if places[name] < ends[name])}")


def _header(layouts: Mapping[str, Layout], metadata: Mapping[str, str] | None) -> tuple[bytes, dict[str, int]]:
    """Return the bytes before the first tensor, and the place of each tensor in the file."""
    order, entries, starts, end = list(DTYPES), dict[str, object](), dict[str, int](), 0
    for name in sorted(layouts, key=lambda name: (order.index(layouts[name].dtype), name)):
        dtype, shape = layouts[name]
        starts[name], end = end, end + layouts[name].size
        entries[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    values = ({} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}) | entries
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    header = (len(text) + -len(text) % 8).to_bytes(8, "little") + text + b" " * (-len(text) % 8)
    return header, {name: len(header) + start for name, start in starts.items()}


def _bytes(name: str, rows: Tensor, layout: Layout) -> memoryview:
    if rows.dtype != layout.dtype or rows.shape[1:] != layout.shape[1:]:
        raise ValueError(f"rows of {name} are {rows.dtype} of shape {tuple(rows.shape)}, not {layout}")
    return rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _check_space(path: Path, file: int, size: int) -> None:
    disk = os.fstatvfs(file)
    if size > (free := disk.f_bavail * disk.f_frsize):
        raise UserError(
            f"{path} needs {size / 1e9:,.1f} GB, and its disk has {free / 1e9:,.1f} GB free: free some space or choose "
            "another --out"
        )
