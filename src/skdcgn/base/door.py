"""The door for what is read: regular files of bounded size, UTF-8 text, JSON as typed records.

Tensor files come in through :mod:`skdcgn.base.tensors`, foreign weights through :mod:`skdcgn.base.weights`. Behind the
door nothing is checked again.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from skdcgn.base.errors import UserError
from skdcgn.base.records import from_dict

C = TypeVar("C")
MOST_TEXT = 32 * 2**20  # bytes of a text file
MOST_JSON = 8 * 2**20  # the values take up to thirty times the bytes
MEND = "restore it or delete it and run again"


def is_folder(path: Path) -> bool:
    """Say whether ``path`` is a folder; a name that no file can have is none."""
    return os.path.isdir(path)


def is_file(path: Path) -> bool:
    """Say whether ``path`` is a regular file; a name that no file can have is none."""
    return os.path.isfile(path)


def regular_file(path: Path, most: int | None = None) -> Path:
    """Return ``path`` if it is a regular file of at most ``most`` bytes; raise UserError otherwise."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path} is a link to a file that does not exist: mend or remove the link") from None
        raise UserError(f"{path} does not exist: run the stage that writes it, or check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"{path} cannot be read ({error}): check the path") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise UserError(f"{path} is {kind}, not a file: check the path")
    if most is not None and status.st_size > most:
        raise UserError(f"{path} is too large ({status.st_size:,} bytes, at most {most:,} are read): check the path")
    return path


def read_bytes(path: Path, most: int, start: int = 0) -> bytes:
    """Return the bytes of a regular file of at most ``most`` bytes, from ``start`` on.

    Raises:
        UserError: there is no such file.
    """
    try:
        with regular_file(path, most).open("rb") as file:
            file.seek(start)
            rest = max(0, path.stat().st_size - start)
            return file.read(min(most, rest))  # read takes memory for as many bytes as it is given
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark."""
    return decode_text(read_bytes(path, most), path)


def decode_text(data: bytes, origin: object) -> str:
    """Return the text of UTF-8 bytes, with or without a byte order mark; raise UserError that names ``origin``."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{origin} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def parse_json(text: str, origin: object, mend: str = MEND) -> Any:
    """Return the values of a JSON text.

    Args:
        origin: the file that an error names.
        mend: what to do about a text that is not JSON; the error ends in it.

    Raises:
        UserError: it is not JSON, or has NaN, infinity, more than 200 levels, or a number of more than 4,300 digits.
    """
    try:
        values = from_json(text, allow_inf_nan=False)
        json.dumps(values, allow_nan=False)  # 1e999 is read as infinity
    except ValueError as error:
        raise UserError(f"{origin} is not JSON ({error}): {mend}") from None
    return values


def read_json(path: Path, mend: str = MEND) -> Any:
    """Return the values of a JSON file; raise UserError if it is missing or is not JSON (:func:`parse_json`)."""
    return parse_json(read_text(path, MOST_JSON), path, mend)


def parse_record(text: str, kind: type[C], origin: object, mend: str = MEND) -> C:
    """Return the values of a JSON text as a ``kind``; raise UserError that names the first wrong key or value."""
    return from_dict(kind, parse_json(text, origin, mend), str(origin), mend)


def read_record(path: Path, kind: type[C], mend: str = MEND) -> C:
    """Return the values of a JSON file as a ``kind``; raise UserError that names the first wrong key or value."""
    return parse_record(read_text(path, MOST_JSON), kind, path, mend)


def read_object(path: Path, mend: str = MEND) -> dict[str, Any]:
    """Return the JSON object in a file, whose keys a configuration or a record will check."""
    return read_record(path, dict[str, Any], mend)
