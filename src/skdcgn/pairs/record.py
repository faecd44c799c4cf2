"""Pairs that somebody recorded become stored pairs: the pictures stream into shards, training and held-out ones.

A mechanism's manifests appear when all of its shards are written, so that a killed call begins the mechanism again and
ends with the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import Noise, Store
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Tell
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, Plan, Purpose, Shard, manifest_of, read_manifests

SHARD, SHARD_BYTES = 1000, 2**28  # pairs of a shard at most, and bytes
MANIFEST = "manifest.json"


class RecordedPairs(NamedTuple):
    """Noise (N, Z), labels (N,) and batches of the pictures (N, C, H, W), uint8 or float32 in range, in one order."""

    noise: Tensor
    labels: Tensor
    batches: Iterator[Tensor]
    levels: bool
    """Whether pictures are uint8."""


@dataclass(frozen=True)
class Origin:
    """What the plans of a recording share: its digest, its Spec, the seed of the choice of held-out pairs."""

    teacher: str
    spec: Spec
    seed: int = 0


def choose_held_out(labels: Tensor, count: int, seed: int, mechanism: Mechanism) -> Tensor:
    """Return which pairs (N,) bool are held out: ``count``, balanced over the classes, each of which keeps others.

    Raises:
        UserError: fewer pairs may be held out.
    """
    order = torch.randperm(len(labels), generator=generator(seed, "held-out", mechanism))
    turns, sizes = torch.empty_like(labels), labels.bincount()
    for label in labels.unique().tolist():
        own = order[labels[order] == label]
        turns[own] = torch.arange(len(own))
    free = turns < sizes[labels] - 1
    most = int(free.sum())
    if count > most:
        raise UserError(
            f"{count} held-out pairs of {len(labels)} of {mechanism}, whose classes must each keep one: pass "
            f"--held-out {most} at most, or record more"
        )
    queue = order[free[order]]
    queue = queue[turns[queue].argsort(stable=True)]
    return torch.zeros(len(labels), dtype=torch.bool).index_fill_(0, queue[:count], True)


def write_pairs(
    folder: Path, mechanism: Mechanism, pairs: RecordedPairs, held_out: Tensor, origin: Origin, tell: Tell
) -> None:
    """Write a mechanism's pairs to ``folder/{train,held-out}``; memory does not grow with their number.

    Args:
        folder: of the mechanism.
        held_out: which pairs (N,) bool are held out.
        tell: called with the number of pairs written.

    Raises:
        UserError: the folder holds other pairs, or a picture cannot be read.
    """
    plans = {TRAIN: _plan(mechanism, TRAIN, pairs, ~held_out, origin)}
    if bool(held_out.any()):
        plans[HELD_OUT] = _plan(mechanism, HELD_OUT, pairs, held_out, origin)
    written = [_is_written(folder / purpose, plan) for purpose, plan in plans.items()]  # each is checked
    if all(written):
        tell(len(held_out))
        return
    writers = {purpose: _Shards(folder / purpose, plan) for purpose, plan in plans.items()}
    start = 0
    for images in pairs.batches:
        rows = slice(start, start + len(images))
        for purpose, writer in writers.items():
            own = held_out[rows] == (purpose == HELD_OUT)
            writer.add(pairs.noise[rows][own], pairs.labels[rows][own], images[own])
        start = rows.stop
        tell(start)
    for writer in writers.values():
        writer.finish()


def _plan(mechanism: Mechanism, purpose: Purpose, pairs: RecordedPairs, rows: Tensor, origin: Origin) -> Plan:
    spec, store = origin.spec, Store.UINT8 if pairs.levels else Store.FLOAT32
    size = mechanism.channels * spec.image_size**2 * (1 if pairs.levels else 4)
    return Plan(
        mechanism=mechanism,
        purpose=purpose,
        count=int(rows.sum()),
        seed=origin.seed,
        shard_size=max(1, min(SHARD, SHARD_BYTES // size)),
        teacher=origin.teacher,
        spec=spec,
        store=store,
        noise=Noise.RECORDED,
    )


def _is_written(folder: Path, plan: Plan) -> bool:
    """Return whether the pairs of ``plan`` are there; raise UserError if others are."""
    manifests = read_manifests(folder)
    names = [part.name for part in fields(Plan)]
    changes = [name for name in names if any(getattr(m, name) != getattr(plan, name) for m in manifests)]
    if changes:
        words = ", ".join(changes).replace("teacher", "the recording")
        raise UserError(f"{folder} holds other pairs (differs in {words}): choose another --out")
    return any(
        sum(shard.count for shard in manifest.shards) == plan.count
        and all(shard.intact(folder) for shard in manifest.shards)
        for manifest in manifests
    )


class _Shards:
    """Collects pairs and writes a shard whenever there are enough of them."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.shards = folder, plan, list[Shard]()
        self.parts, self.count = list[tuple[Tensor, Tensor, Tensor]](), 0

    def add(self, noise: Tensor, labels: Tensor, images: Tensor) -> None:
        self.parts.append((noise, labels, images))
        self.count += len(labels)
        while self.count >= self.plan.shard_size:
            self._write(self.plan.shard_size)

    def finish(self) -> None:
        if self.count:
            self._write(self.count)
        manifest_of(self.plan, 0, self.shards).write(self.folder / MANIFEST)

    def _write(self, size: int) -> None:
        columns = [torch.cat(column) for column in zip(*self.parts, strict=True)]
        self.parts, self.count = [(columns[0][size:], columns[1][size:], columns[2][size:])], self.count - size
        name = f"shard-{len(self.shards):05d}.safetensors"
        tensors = dict(zip(("noise", "labels", "images"), (column[:size] for column in columns), strict=True))
        self.shards.append(Shard(name, size, write_tensors(self.folder / name, tensors)))
