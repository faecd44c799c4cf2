"""Named tensors in safetensors files: written atomically, checked when read, never unpickled."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write safetensors atomically; return the file's sha256."""
    data = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file to read some of it; raise UserError if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): fetch or write it again") from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read every tensor and the metadata of a safetensors file; raise UserError if it is missing or damaged."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
