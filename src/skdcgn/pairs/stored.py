"""Stored pairs: the shards of a folder, read with their checksums."""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.config import Store
from skdcgn.base.errors import UserError, naming, shown
from skdcgn.base.tensors import open_tensors, read_tensors
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher, check_answer, check_query
from skdcgn.cgn.subset import with_digest
from skdcgn.pairs.manifest import Purpose, Shard, read_manifest
from skdcgn.pairs.stores import REDRAW, Layout, decode, layout, read_images

MEMORY = 4 * 2**30  # bytes
AT_ONCE = 250  # pictures at full size, to be reduced
GREATEST_NOISE = {"normal": 10, "truncated-normal": 2, "uniform": 1}  # of a normal distribution in float32, below 7


class Pairs(NamedTuple):
    """Noise (N, Z), labels (N,) int64 and the images (N, C, H, W) that they gave."""

    noise: Tensor
    labels: Tensor
    images: Tensor


class StoredPairs:
    """The pairs of a folder: all noise and labels in memory, images read by row.

    To open a folder reads no image: a shard's checksum is compared when the first of its images is read.

    Args:
        folder: that :func:`query_pairs` wrote.
        teacher: the one that answered; needed if no images were stored.
        mechanism: whose pairs the caller needs; None: any.
        purpose: that they must have been queried for; None: any.
        memory: bytes; images that take more are not kept in memory, and each batch reads its own.
        first: how many pairs, those of the first shards; later ones may be missing. None: all.

    Raises:
        UserError: other pairs than the caller needs, a shard is missing or of another form, labels are not those of
            classes, noise is out of range, or no images were stored and ``teacher`` is another one; when images are
            read, their shard is damaged, or they are out of range.
    """

    def __init__(
        self,
        folder: Path,
        teacher: Teacher | None = None,
        *,
        mechanism: Mechanism | None = None,
        purpose: Purpose | None = None,
        memory: int = MEMORY,
        first: int | None = None,
    ) -> None:
        self.folder, self.memory = folder, memory
        self.manifest = read_manifest(folder, mechanism, purpose, first=first)
        self.plan = plan = self.manifest.plan
        self.mechanism, self.spec = plan.mechanism, plan.spec
        self.teacher = with_digest(teacher, plan.teacher, plan.classes) if teacher else None
        if plan.store is Store.NONE and not self.teacher:
            raise UserError(f"{folder} holds noise and labels alone: pass the teacher that they are for by --teacher")
        self._intact = set[str]()  # files whose checksums were compared
        self.starts = torch.tensor([0, *(shard.count for shard in self.manifest.shards)]).cumsum(0)
        count = int(self.starts[-1])
        self.noise, self.labels = torch.empty(count, self.spec.noise_dim), torch.empty(count, dtype=torch.int64)
        for shard, rows in self._places():
            self.noise[rows], self.labels[rows] = self._inputs(shard)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor) -> Tensor:
        """Return the images (B, C, H, W) of ``rows`` (B,)."""
        size = len(self) * self.mechanism.channels * self.spec.image_size**2 * 4
        return self._all_images.index_select(0, rows) if size <= self.memory else self._read(rows)

    @cached_property
    def _all_images(self) -> Tensor:
        images = torch.empty(len(self), self.mechanism.channels, self.spec.image_size, self.spec.image_size)
        for part, (_, rows) in zip(self, self._places(), strict=True):
            images[rows] = part.images
        return images

    def __iter__(self) -> Iterator[Pairs]:
        """Yield the pairs shard by shard."""
        for shard, rows in self._places():
            noise, labels = self.noise[rows], self.labels[rows]
            stored = self.plan.store is not Store.NONE
            yield Pairs(noise, labels, self._decode(shard) if stored else self._query(noise, labels))

    def in_memory(self) -> Pairs:
        """Return all pairs in memory, whatever it takes."""
        return Pairs(self.noise, self.labels, self._all_images)

    def _places(self) -> Iterator[tuple[Shard, slice]]:
        """Yield each shard with its rows."""
        bounds = pairwise(self.starts.tolist())
        return zip(self.manifest.shards, (slice(start, end) for start, end in bounds), strict=True)

    def _read(self, rows: Tensor) -> Tensor:
        """Read those rows alone, shard by shard; query them if no images are stored."""
        if self.plan.store is Store.NONE:
            return self._query(self.noise[rows], self.labels[rows])
        shards = torch.bucketize(rows, self.starts[1:], right=True)
        images = torch.empty(len(rows), self.mechanism.channels, self.spec.image_size, self.spec.image_size)
        for index in shards.unique().tolist():
            own, path, start = shards == index, self._file(self.manifest.shards[index]), self.starts[index]
            images[own] = self._check(read_images(path, self.mechanism, self.spec.image_size, rows[own] - start), path)
        return images

    def _inputs(self, shard: Shard) -> tuple[Tensor, Tensor]:
        """Read the noise and labels of a shard; compare its checksum too if it holds no more than them."""
        path = self._file(shard) if self.plan.store is Store.NONE else self.folder / shard.file
        try:
            return read_inputs(path, self.spec, layout(self.plan.store, self.mechanism, self.spec, shard.count))
        except UserError:
            self._file(shard)  # names a damaged file as such
            raise

    def _file(self, shard: Shard) -> Path:
        """Return the file of a shard, whose checksum is compared once, before its images are read."""
        path = self.folder / shard.file
        if shard.file not in self._intact and not shard.intact(self.folder):
            raise UserError(f"{path} is missing or damaged (checksum differs): run the query again to redraw it")
        self._intact.add(shard.file)
        return path

    def _decode(self, shard: Shard) -> Tensor:
        path = self._file(shard)
        with naming(path):
            return self._check(decode(read_tensors(path)[0], self.mechanism, self.spec.image_size), path)

    def _check(self, images: Tensor, path: Path) -> Tensor:
        with naming(path):
            return check_answer(self.spec, self.mechanism, images, len(images))

    def _query(self, noise: Tensor, labels: Tensor) -> Tensor:
        assert self.teacher is not None  # checked by __init__
        return draw(self.teacher, self.mechanism, noise, labels)


def read_inputs(path: Path, spec: Spec, expected: dict[str, Layout]) -> tuple[Tensor, Tensor]:
    """Return the noise (N, Z) and labels (N,) of a file that has the ``expected`` tensors.

    Raises:
        UserError: it has others, labels are not those of classes, or noise is out of range.
    """
    with open_tensors(path) as file, naming(path):
        check_layout(file, expected)
        noise, labels = file.get_tensor("noise"), file.get_tensor("labels")
        check_query(spec, noise, labels)
        greatest = GREATEST_NOISE[spec.distribution]
        if not float(noise.abs().max()) <= greatest:  # NaN is in no range
            raise UserError(f"its noise is not within [-{greatest}, {greatest}]: {REDRAW}")
    return noise, labels


def check_layout(file: Any, expected: dict[str, Layout]) -> None:
    """Raise UserError unless a safetensors file has these tensors alone, of these types and shapes."""
    names = set(file.keys())
    if names != expected.keys():
        raise UserError(f"it holds {shown(sorted(names))} instead of {', '.join(sorted(expected))}: {REDRAW}")
    for name, (dtype, shape) in expected.items():
        part = file.get_slice(name)
        actual = part.get_shape() if -1 not in shape else [-1] * len(part.get_shape())
        if (part.get_dtype(), actual) != (dtype, shape):
            raise UserError(
                f"its {name} are {part.get_dtype()} of shape {part.get_shape()} instead of {dtype} of {shape}: {REDRAW}"
            )


def small_pictures(pairs: StoredPairs, rows: Tensor, side: int) -> Tensor:
    """Return the pictures of ``rows`` (N,), reduced to ``side`` pixels and in [0, 1]: (N, C side side)."""
    low = pairs.mechanism.low
    parts = [F.adaptive_avg_pool2d(pairs.images(part), side).flatten(1) for part in rows.split(AT_ONCE)]
    return (torch.cat(parts) - low) / (1 - low)


def read_pairs(
    folder: Path,
    teacher: Teacher | None = None,
    *,
    mechanism: Mechanism | None = None,
    purpose: Purpose | None = None,
) -> Pairs:
    """Return all pairs of ``folder`` in memory, in the order of their plan; arguments as of :class:`StoredPairs`."""
    return StoredPairs(folder, teacher, mechanism=mechanism, purpose=purpose).in_memory()
