"""Files: written atomically, by one process at a time."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


@contextmanager
def exclusive(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Let one process at a time into the block, by the file ``lock``, which a killed process releases.

    Yields True with the lock; without ``wait``, False if another process has it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = FileLock(lock)
    try:
        file.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield False
            return
        logging.getLogger(__name__).warning("%s: waiting for another process that works there", lock.parent)
        file.acquire()
    try:
        yield True
    finally:
        file.release()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a temporary file beside ``path``, then rename: a reader sees the old bytes or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def sha256(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
