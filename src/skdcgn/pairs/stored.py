"""Stored pairs: the manifests and shards of a folder, read with their checksums."""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import Noise, Store
from skdcgn.base.errors import UserError
from skdcgn.base.files import open_tensors, read_json, read_tensors, sha256
from skdcgn.cgn.compose import draw
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher, check_answer
from skdcgn.cgn.subset import with_digest
from skdcgn.pairs.stores import decode, read_rows

TRAIN, HELD_OUT = "train", "held-out"
# Of a manifest, what was asked for, and so which pairs these are.
PLAN = ("mechanism", "purpose", "count", "seed", "shard_size", "store", "noise", "teacher", "classes", "spec")
MEMORY = 4 * 2**30


class Pairs(NamedTuple):
    """Noise (N, Z), labels (N,) int64 and the images (N, C, H, W) that they gave."""

    noise: Tensor
    labels: Tensor
    images: Tensor


def _ask(teacher: Teacher, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
    return check_answer(teacher.spec, mechanism, draw(teacher, mechanism, noise, labels), len(labels))


def _manifests(folder: Path) -> list[dict[str, Any]]:
    """Read the manifests of all ranks; older ones lack a key that has this value."""
    older = {"store": Store.FLOAT32.value, "noise": Noise.RANDOM.value, "classes": None}
    return [{**older, **read_json(path)} for path in sorted(folder.glob("manifest*.json"))]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the plan of ``folder``, its shards of all ranks in order, and the queries that were spent.

    Raises:
        UserError: there are no pairs, those of several plans, or not all of them.
    """
    manifests = _manifests(folder)
    if not manifests:
        raise UserError(f"{folder / 'manifest.json'} does not exist: run skdcgn query, or check the path")
    plan = {key: manifests[0][key] for key in PLAN}
    shards = {shard["file"]: shard for manifest in manifests for shard in manifest["shards"]}
    stored = sum(shard["count"] for shard in shards.values())
    if any(manifest[key] != plan[key] for manifest in manifests for key in PLAN):
        raise UserError(f"{folder} holds pairs of several plans: query again into another folder")
    if stored != plan["count"]:
        raise UserError(f"{folder} holds {stored} of {plan['count']} pairs: run the query again to finish it")
    queries = sum(manifest["queries"] for manifest in manifests)
    return {**plan, "queries": queries, "shards": [shards[name] for name in sorted(shards)]}


def _whole(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256(path) == checksum


class StoredPairs:
    """The pairs of a folder: all noise and labels, and images as they are asked for.

    Args:
        folder: that :func:`query_pairs` wrote.
        teacher: the one that answered; needed if no images were stored.
        memory: bytes; images that take more are not kept in memory, and each batch reads its own.

    Raises:
        UserError: a shard is missing or damaged, or images must be asked for and ``teacher`` is not the one.
    """

    def __init__(self, folder: Path, teacher: Teacher | None = None, *, memory: int = MEMORY) -> None:
        self.folder, self.manifest, self.memory = folder, read_manifest(folder), memory
        self.mechanism, self.spec = Mechanism(self.manifest["mechanism"]), Spec(**self.manifest["spec"])
        self.store = Store(self.manifest["store"])
        self.teacher = with_digest(teacher, self.manifest["teacher"], self.manifest["classes"]) if teacher else None
        if self.store is Store.NONE and not self.teacher:
            raise UserError(f"{folder} holds noise and labels alone: pass the teacher that they are for by --teacher")
        parts = [self._inputs(index) for index in range(len(self.manifest["shards"]))]
        self.noise, self.labels = (torch.cat(columns) for columns in zip(*parts, strict=True))
        self.starts = torch.tensor([0, *(shard["count"] for shard in self.manifest["shards"])]).cumsum(0)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor) -> Tensor:
        """Return the images (B, C, H, W) of ``rows`` (B,)."""
        size = len(self) * self.mechanism.channels * self.spec.image_size**2 * 4
        return self._everything[rows] if size <= self.memory else self._picked(rows)

    @cached_property
    def _everything(self) -> Tensor:
        return torch.cat([part.images for part in self])

    def __iter__(self) -> Iterator[Pairs]:
        """Yield the pairs shard by shard."""
        for index, (start, end) in enumerate(pairwise(self.starts.tolist())):
            noise, labels = self.noise[start:end], self.labels[start:end]
            kept = self.store is not Store.NONE
            yield Pairs(noise, labels, self._decoded(index) if kept else self._asked(noise, labels))

    def _picked(self, rows: Tensor) -> Tensor:
        """Read those rows alone, shard by shard; ask for them where none are kept."""
        if self.store is Store.NONE:
            return self._asked(self.noise[rows], self.labels[rows])
        shards = torch.bucketize(rows, self.starts[1:], right=True)
        found = torch.empty(len(rows), self.mechanism.channels, self.spec.image_size, self.spec.image_size)
        for shard in shards.unique().tolist():
            mine = shards == shard
            found[mine] = read_rows(self._path(shard), self.mechanism, rows[mine] - self.starts[shard])
        return found

    def _inputs(self, index: int) -> tuple[Tensor, Tensor]:
        path = self._path(index)
        if not _whole(path, self.manifest["shards"][index]["sha256"]):
            raise UserError(f"{path} is missing or damaged (checksum differs): run the query again to redraw it")
        with open_tensors(path) as file:
            return file.get_tensor("noise"), file.get_tensor("labels")

    def _decoded(self, index: int) -> Tensor:
        return decode(read_tensors(self._path(index))[0], self.mechanism)

    def _asked(self, noise: Tensor, labels: Tensor) -> Tensor:
        assert self.teacher is not None  # __init__ has seen to it
        return _ask(self.teacher, self.mechanism, noise, labels)

    def _path(self, index: int) -> Path:
        return self.folder / str(self.manifest["shards"][index]["file"])


def read_pairs(folder: Path, teacher: Teacher | None = None) -> Pairs:
    """Return all pairs of ``folder`` in memory, in the order they were planned."""
    stored = StoredPairs(folder, teacher)
    return Pairs(stored.noise, stored.labels, torch.cat([part.images for part in stored]))
