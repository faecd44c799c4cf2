"""The door for what is read: regular files of bounded size, UTF-8 text, JSON as typed records.

Tensor files come in through :mod:`skdcgn.base.tensors`, foreign weights through :mod:`skdcgn.base.weights`. Behind the
door nothing is checked again.
"""

import json
import stat
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from skdcgn.base.errors import UserError
from skdcgn.base.records import from_dict

C = TypeVar("C")
MOST_TEXT = 64 * 2**20  # bytes of a text file


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


def read_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file of at most ``most`` bytes; raise UserError if there is none."""
    try:
        return regular_file(path, most).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """Return the values of a JSON file; raise UserError if it is missing or is not JSON.

    NaN and infinity, which JSON does not have, are refused, and so are numbers of more digits and values of more levels
    than Python reads.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "its values are nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{path} is not JSON ({reason}): restore it or delete it and run again") from None


def read_record(path: Path, kind: type[C]) -> C:
    """Return the values of a JSON file as a ``kind``; raise UserError that names the first wrong key or value."""
    return from_dict(kind, read_json(path), str(path))


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
