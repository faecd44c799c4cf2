"""Pairs: (u, y, image) as a teacher answered it, kept together from the moment they are drawn.

A mechanism's folder holds shards of safetensors and a manifest: how many queries were spent, which teacher
answered, and each shard's checksum. Noise and labels of shard i are a function of (seed, mechanism, i), so a
killed query goes on where it stopped and a finished one asks nothing. Labels are balanced over the classes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.composer import draw
from skdcgn.config import QueryConfig
from skdcgn.errors import UserError
from skdcgn.files import read_json, read_tensors, sha256, write_json, write_tensors
from skdcgn.mechanism import Mechanism, Spec, Teacher, check_answer
from skdcgn.progress import Watch, unwatched
from skdcgn.seeds import generator

TRAIN, HELD_OUT = "train", "held-out"


class Pairs(NamedTuple):
    """Noise (N, Z), labels (N,) int64 and the images (N, C, H, W) that they gave."""

    noise: Tensor
    labels: Tensor
    images: Tensor


def query_pairs(
    teacher: Teacher,
    mechanism: Mechanism,
    count: int,
    folder: Path,
    *,
    seed: int = 0,
    shard_size: int = 1000,
    purpose: str = TRAIN,
    tell: Callable[[int], None] = lambda drawn: None,
) -> dict[str, Any]:
    """Ask ``teacher`` for ``count`` pairs and store them in ``folder``; return the manifest.

    Whole shards of an earlier, killed call are kept; queries are counted before they are asked, so a shard
    that was lost half-way counts twice, as a paid-for black box would bill it.
    """
    if count < 1 or shard_size < 1:
        raise UserError(f"{mechanism}: {count} pairs in shards of {shard_size}: both must be at least 1")
    plan = {
        "mechanism": mechanism.value,
        "purpose": purpose,
        "count": count,
        "seed": seed,
        "shard_size": shard_size,
        "teacher": teacher.digest,
        "spec": teacher.spec.to_dict(),
    }
    manifest = _begin(folder / "manifest.json", plan)
    shards = {shard["file"]: shard for shard in manifest["shards"]}
    for index in range(-(-count // shard_size)):
        name = f"shard-{index:05d}.safetensors"
        if name in shards and _whole(folder / name, shards[name]["sha256"]):
            continue
        size = min(shard_size, count - index * shard_size)
        manifest["queries"] += size
        write_json(folder / "manifest.json", manifest)
        noise, labels = plan_shard(teacher.spec, mechanism, size, seed, purpose, index)
        images = check_answer(teacher.spec, mechanism, draw(teacher, mechanism, noise, labels), size)
        checksum = write_tensors(folder / name, Pairs(noise, labels, images)._asdict())
        shards[name] = {"file": name, "count": size, "sha256": checksum}
        manifest["shards"] = [shards[key] for key in sorted(shards)]
        write_json(folder / "manifest.json", manifest)
        tell(index * shard_size + size)
    return manifest


def query_all(
    teacher: Teacher, out: Path, config: QueryConfig, *, seed: int = 0, watch: Watch = unwatched
) -> dict[str, int]:
    """Store training and held-out pairs of all mechanisms in ``out/MECHANISM/{train,held-out}``.

    Returns the queries spent on training pairs, by mechanism.
    """
    budgets = {
        Mechanism.SHAPE: config.shape,
        Mechanism.TEXTURE: config.texture,
        Mechanism.BACKGROUND: config.background,
    }
    spent = {}
    for mechanism, budget in budgets.items():
        for purpose, count in ((HELD_OUT, config.held_out), (TRAIN, budget)):
            manifest = query_pairs(
                teacher,
                mechanism,
                count,
                out / mechanism / purpose,
                seed=seed,
                shard_size=config.shard_size,
                purpose=purpose,
                tell=watch(f"query {mechanism} ({purpose})", count),
            )
        spent[mechanism.value] = int(manifest["queries"])
    return spent


def plan_shard(
    spec: Spec, mechanism: Mechanism, size: int, seed: int, purpose: str, index: int
) -> tuple[Tensor, Tensor]:
    """Return the noise (size, Z) and the balanced, shuffled labels (size,) of one shard."""
    rng = generator(seed, "pairs", purpose, mechanism, index)
    noise = spec.sample_noise(size, rng)
    return noise, torch.randperm(size, generator=rng) % spec.classes


def _begin(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {**plan, "queries": 0, "shards": []}
    manifest: dict[str, Any] = read_json(path)
    changed = [key for key, value in plan.items() if manifest.get(key) != value]
    if changed:
        raise UserError(f"{path.parent} holds other pairs (differs in {', '.join(changed)}): choose another --out")
    return manifest


def _whole(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256(path) == checksum


def stream_pairs(folder: Path) -> Iterator[Pairs]:
    """Yield the pairs of ``folder`` shard by shard, each checked against its checksum."""
    manifest = read_json(folder / "manifest.json")
    stored = sum(shard["count"] for shard in manifest["shards"])
    if stored != manifest["count"]:
        raise UserError(f"{folder} holds {stored} of {manifest['count']} pairs: run the query again to finish it")
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        if not _whole(path, shard["sha256"]):
            raise UserError(f"{path} is missing or damaged (checksum differs): run the query again to redraw it")
        yield Pairs(**read_tensors(path)[0])


def read_pairs(folder: Path) -> Pairs:
    """Return all pairs of ``folder`` in memory, in the order they were planned."""
    return Pairs(*(torch.cat(parts) for parts in zip(*stream_pairs(folder), strict=True)))
