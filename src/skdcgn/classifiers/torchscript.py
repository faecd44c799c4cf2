"""Classifiers in TorchScript files, which PyTorch's own interpreter runs: it has no Python and unpickles no object.

Yet a file is a program. The interpreter knows operators that read and write files; a file that uses one is refused.
Files of ``torch.export`` are refused altogether: ``torch.export.load`` unpickles objects that run code, and evaluates
text as Python.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.pytorch_files import MOST_WEIGHTS, UNREADABLE
from skdcgn.classifiers.sources import Source

CODE = re.compile(r"[^/]+/code/.+\.py")
PROGRAM = re.compile(r"[^/]+/(models/.+\.json|archive_format)|serialized_exported_program\.json")
FILES = re.compile(r"\b(?:torch|ops\.\w+)\.(?:save|load\w*|from_file|_?read_file|write_file)\b")
MOST_CODE = 64 * 2**20  # bytes of compressed members, unpacked
EXPORTED = (
    "is a program of torch.export, whose loader unpickles objects that run code: export it to ONNX, or pass "
    "module:name of a function that returns torch.export.load(...).module()"
)


def is_torchscript(path: Path) -> bool:
    """Say whether a file is an archive with code in it.

    Raises:
        UserError: it is a program of ``torch.export``.
    """
    names = _members(path)
    if any(PROGRAM.fullmatch(name) for name in names):
        raise UserError(f"{path} {EXPORTED}")
    return any(CODE.fullmatch(name) for name in names)


def _members(path: Path) -> list[str]:
    """Return the names in an archive; none for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def of_torchscript(path: Path, device: str) -> Source:
    """Open the classifier in a TorchScript file.

    Raises:
        UserError: the file is damaged, or its code reads or writes files.
    """
    regular_file(path, MOST_WEIGHTS)
    try:
        _check_code(path)
        with warnings.catch_warnings(action="ignore"):  # that TorchScript is deprecated
            module = torch.jit.load(path, map_location=device).eval()
    except UNREADABLE as error:
        raise UserError(f"{path} is no TorchScript that runs here ({type(error).__name__}): save it again") from None

    def run(images: Tensor) -> Any:
        return module(images.to(device))

    return Source(str(path), sha256(path), "a TorchScript file", run)


def _check_code(path: Path) -> None:
    """Raise UserError unless an archive is whole, no larger unpacked than it may be, and touches no files."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = sum(one.file_size for one in members if one.compress_type != zipfile.ZIP_STORED)
        stored = sum(one.file_size for one in members if one.compress_type == zipfile.ZIP_STORED)
        if packed > MOST_CODE or stored > path.stat().st_size:
            raise UserError(f"{path} claims {packed + stored:,} bytes of members, more than it may: save it again")
        if archive.testzip() is not None:
            raise UserError(f"{path} is damaged (a checksum differs): save it again")
        for one in members:
            code = archive.read(one).decode(errors="replace") if CODE.fullmatch(one.filename) else ""
            if use := FILES.search(code):
                raise UserError(f"{path} uses {use[0]}, which reads or writes files: pass a file without it")
