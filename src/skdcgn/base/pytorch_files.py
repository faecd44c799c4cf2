"""PyTorch's files: read with ``weights_only=True``, never unpickled, their memory bounded by their size.

The directory of an archive of ``torch.save`` is checked first: members are stored, not compressed, add up to no more
than the file, and have their checksums. Their tensors are then mapped, so that none reaches beyond the file.
"""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError

MOST_WEIGHTS = 64 * 2**30  # bytes of a file of weights
SIGNATURE = b"PK\x03\x04"
UNREADABLE = (  # of torch.load and zipfile, for bytes that are no archive of theirs
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, ArithmeticError, AssertionError, AttributeError),
    *(EOFError, ImportError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
)


def load_pytorch(path: Path) -> Any:
    """Return what ``torch.save`` wrote to a file.

    Raises:
        UserError: there is no such file, it is damaged or compressed, or holds more than tensors and plain values.
    """
    regular_file(path, MOST_WEIGHTS)
    try:
        archive = _is_archive(path)
        if archive:
            _check_archive(path)
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols; the error below names unreadable files
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except UNREADABLE:
        raise UserError(
            f"{path} is no plain state dict: it is damaged or cut short, another kind of file, or holds objects that "
            "would run code when unpickled, which is refused; pass a state dict saved by torch.save or a .safetensors"
        ) from None


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(
                f"{path} is compressed and would unpack to {total:,} bytes: save it again by torch.save, which stores "
                "tensors as they are"
            )
        if total > path.stat().st_size:
            raise UserError(f"{path} claims {total:,} bytes of members, more than it has: fetch or save it again")
        damaged = archive.testzip()
    if damaged is not None:
        raise UserError(f"{path} is damaged (the checksum of {damaged!a} differs): fetch or save it again")
