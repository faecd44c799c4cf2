"""Digests of what a run reads, which are a part of its identity: the same command on changed data is another run.

The digest of a folder is the sha256 of the names, sizes and bytes of the files that are read. Of more than ``WHOLE``
bytes the bytes of a seeded sample of the files count, and the names and sizes of all.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.records import digest

T = TypeVar("T")
WHOLE = 2 * 2**30  # bytes
SAMPLE, SEED = 2000, 0  # files
SMALL = 2**20  # bytes of a file that is read at once
THREADS, SHARES = 8, 64  # the disk's latency decides, not the number of cores


class Contents(NamedTuple):
    """The digest of something that a run reads, and the words that name it in a message, as "the images in photos"."""

    digest: str
    words: str


Reads = Mapping[str, Contents]  # by a name that is the same wherever the files are, as "images"
NOTHING: Reads = MappingProxyType({})


def digests(reads: Reads) -> dict[str, str]:
    """Return the digest of each of ``reads`` by name, which configurations keep."""
    return {name: contents.digest for name, contents in reads.items()}


def value_reads(name: str, value: object, words: str) -> Reads:
    """Return the contents of a JSON value, such as the names of classes or the digest of a teacher."""
    return {name: Contents(value if isinstance(value, str) else digest(value), words)}


def file_reads(name: str, path: str | Path | None) -> Reads:
    """Return the contents of a file, nothing for None; raise UserError if there is no such file."""
    if path is None:
        return NOTHING
    return {name: Contents(sha256(regular_file(Path(path))), f"the {name} in {path}")}


def folder_reads(name: str, folder: Path, files: Iterable[str]) -> Reads:
    """Return the contents of the ``files`` of a folder, whose paths begin with the folder's."""
    return {name: Contents(files_digest(folder, files), f"the {name} in {folder}")}


def files_digest(folder: Path, files: Iterable[str], *, whole: int = WHOLE, sample: int = SAMPLE) -> str:
    """Return the sha256 of the names, sizes and bytes of some files, whatever their order.

    Args:
        folder: to which the names are relative.
        files: paths that begin with the folder's.
        whole: bytes; of files that have more together, ``sample`` files are read, of ``whole`` bytes at most.
        sample: number of files.

    Raises:
        UserError: a file cannot be read.
    """
    paths, start = sorted(files), len(f"{folder}{os.sep}")
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = _on_each(pool, _size, paths)
        rows = range(len(paths)) if sum(sizes) <= whole else _sample(sizes, whole, sample)
        hashes = dict(zip(rows, _on_each(pool, _hash, [paths[row] for row in rows]), strict=True))
    total = hashlib.sha256()
    for row, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        name = path[start:].replace(os.sep, "/")
        total.update(os.fsencode(name) + f"\0{size}\0{hashes.get(row, '')}\n".encode())
    return total.hexdigest()


def _sample(sizes: Sequence[int], whole: int, count: int) -> list[int]:
    """Return rows of files, drawn by a seed, that have ``whole`` bytes at most."""
    rows, total = [], 0
    for row in random.Random(SEED).sample(range(len(sizes)), min(count, len(sizes))):
        total += sizes[row]
        if total <= whole:
            rows.append(row)
    return rows


def _on_each(pool: ThreadPoolExecutor, function: Callable[[str], T], paths: Sequence[str]) -> list[T]:
    """Return the values of ``function`` in order; a thread takes many files at once, for each takes microseconds."""
    size = 1 + len(paths) // SHARES
    shares = [paths[start : start + size] for start in range(0, len(paths), size)]
    return [value for share in pool.map(lambda share: [function(path) for path in share], shares) for value in share]


def _size(path: str) -> int:
    with _named(path):
        return os.stat(path).st_size


def _hash(path: str) -> str:
    with _named(path), open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size > SMALL:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(file.read()).hexdigest()


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): replace it or remove it") from None
