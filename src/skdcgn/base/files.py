"""Files: written atomically, by one process at a time; a disk that refuses them is a UserError.

A write goes to a temporary file in the same folder, which is then renamed. Its writer holds a lock (flock) on it: a
process that first writes in a folder, or has it to itself, removes the temporary files that no living process holds.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from skdcgn.base.errors import UserError

PREFIX, SUFFIX = ".skdcgn-", ".tmp"  # of temporary files
_swept: set[tuple[int, int]] = set()  # device and inode of the folders without remains of killed writers


@contextmanager
def exclusive(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Let one process at a time into the block, by the file ``lock``, which a killed process releases.

    Yields True with the lock; without ``wait``, False if another process has it.
    """
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    file = FileLock(lock)
    try:
        with writing(lock):
            file.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield False
            return
        logging.getLogger(__name__).warning("%s: waiting for another process that works there", lock.parent)
        file.acquire()
    try:
        _sweep(lock.parent)
        yield True
    finally:
        file.release()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield an empty temporary file beside ``path`` that takes its place, and its name, when the block succeeds.

    A reader sees the old bytes or the new, never half. The block may write, seek and read.

    Raises:
        UserError: the disk is full or refuses the file; ``path`` is as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{path} is a pipe or a device, which a file would replace: choose another --out")
        _sweep_once(path.parent)
        temporary = path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        try:
            with _locked(temporary) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _locked(temporary: Path) -> IO[bytes]:
    """Create the file and hold it; a sweeper that came in between has removed it, so that it is created again."""
    while True:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks, where nobody sweeps
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return os.fdopen(handle, "w+b")
        os.close(handle)


def _sweep_once(folder: Path) -> None:
    """Sweep ``folder`` before this process first writes there."""
    status = folder.stat()
    place = (status.st_dev, status.st_ino)
    if place not in _swept:
        _swept.add(place)
        _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove the temporary files in ``folder`` that no living process holds."""
    for file in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):  # its writer lives, has just renamed it, or is another user's
            _remove_if_abandoned(file)


def _remove_if_abandoned(file: Path) -> None:
    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` atomically: a reader sees the old bytes or the new, never half."""
    with replacing(path) as file:
        file.write(data)


def append_text(path: Path, text: str) -> None:
    """Append ``text`` in UTF-8."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def append_durably(path: Path, text: str) -> None:
    """Append ``text`` in UTF-8 to a file whose folder exists; it is on disk when this returns."""
    with writing(path), path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def file_version(path: Path) -> tuple[int, ...]:
    """Return the place, size and time of a file, which change when it is replaced or written."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def sha256(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


MENDS = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "free some space or choose another --out, and run the same command again to continue",
    ),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "check its permissions, or choose another --out"),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.ELOOP),
        "a file or a broken link is where a folder should be: choose another --out",
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n), and run again"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "its disk failed: choose another --out"),
    errno.EISDIR: "a folder is where a file should be: choose another --out",
    errno.ENAMETOOLONG: "choose a shorter --out",
    errno.ENOENT: "its folder was removed: choose an --out that exists",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise UserError that names ``path`` and the mend if the disk refuses what the block writes there."""
    try:
        yield
    except OSError as error:
        if error.errno not in MENDS or not _concerns(error, path):
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}): {MENDS[error.errno]}") from None


def _concerns(error: OSError, path: Path) -> bool:
    """Tell whether the error names no file, or ``path``, or one above, below or beside it."""
    if not isinstance(error.filename, str):
        return True
    file = Path(error.filename)
    return file.parent == path.parent or file in path.parents or path in file.parents
