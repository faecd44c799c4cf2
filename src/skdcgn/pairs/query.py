"""Pairs: (u, y, image) as a teacher answered, stored together from the moment they are drawn.

A mechanism's folder holds shards of safetensors and a manifest: how many queries were spent, which teacher
answered, and each shard's checksum. Noise and labels of shard i are a function of (seed, mechanism, i), so a
killed query goes on where it stopped and a finished one spends no query. Labels are balanced over the classes.

Many processes or machines share a folder: rank r of n draws the shards i with i mod n = r and keeps a manifest of its
own, so that no rank waits for another; whole shards are kept even if the next try has another number of ranks.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_BATCH, MOST_COUNT
from skdcgn.base.config import Noise, QueryConfig, Store
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import exclusive
from skdcgn.base.progress import Tell, Watch, ignore, log_progress
from skdcgn.base.rank import Rank
from skdcgn.base.records import from_dict, to_dict
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.compose import draw
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher
from skdcgn.cgn.subset import classes_of, of_classes, parse_classes
from skdcgn.pairs.manifest import (
    HELD_OUT,
    MOST_SHARDS,
    TRAIN,
    Manifest,
    Plan,
    Purpose,
    Shard,
    manifest_of,
    read_manifest_file,
    read_manifests,
)
from skdcgn.pairs.recorded import RecordedQuestions, recorded_questions
from skdcgn.pairs.stored import MEMORY
from skdcgn.pairs.stores import encode

Questions = Callable[[int, int, Plan], tuple[Tensor, Tensor]]  # size, index of the shard, plan -> noise, labels


def plan_shard(size: int, index: int, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the noise (size, Z) and the balanced, shuffled labels (size,) of one shard.

    Over shards that are smaller than the number of classes, labels go on where the shard before stopped. Each class has
    a Sobol sequence of its own.

    Raises:
        UserError: the noise of the plan is active, which depends on the answers before.
    """
    if plan.noise is Noise.ACTIVE:
        raise UserError("active questions depend on the answers before: query by skdcgn.students.asking.ask")
    spec, rng = plan.spec, generator(plan.seed, "pairs", plan.purpose, plan.mechanism, index)
    if plan.noise is Noise.RANDOM:
        noise = spec.sample_noise(size, rng)
        return noise, (index * size + torch.randperm(size, generator=rng)) % spec.classes
    places = index * plan.shard_size + torch.randperm(size, generator=rng)  # in the plan of all shards
    labels, noise = places % spec.classes, torch.empty(size, spec.noise_dim)
    for label in labels.unique().tolist():
        own = labels == label
        turns = places[own] // spec.classes
        first, last = int(turns.min()), int(turns.max())
        points = spec.sobol_noise(first, last - first + 1, derive_seed(plan.seed, "sobol", plan.mechanism, label))
        noise[own] = points[turns - first]
    return noise, labels


def manifest_name(rank: Rank) -> str:
    """Return the name of the file that this process alone writes."""
    return "manifest.json" if rank.ranks == 1 else f"manifest-{rank.own}.json"


def query_pairs(
    teacher: Teacher,
    mechanism: Mechanism,
    count: int,
    folder: Path,
    *,
    seed: int = 0,
    shard_size: int = 1000,
    purpose: Purpose = TRAIN,
    store: Store = Store.FLOAT32,
    source: Noise = Noise.RANDOM,
    questions: Questions = plan_shard,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    tell: Tell = ignore,
) -> Manifest:
    """Query ``teacher`` for this rank's part of ``count`` pairs and store them in ``folder``; return its manifest.

    Whole shards of an earlier, killed call are kept; queries are counted before they are sent, so that a shard
    that was lost half-way counts twice, as a black box that costs money would bill it. With ``Store.NONE`` the teacher
    is not queried. ``questions`` gives the noise (B, Z) and labels (B,) of a shard by its size, its index and the plan.
    """
    _check_sizes(mechanism, teacher.spec, count, shard_size)
    rank.check()
    plan = Plan(
        mechanism=mechanism,
        purpose=purpose,
        count=count,
        seed=seed,
        shard_size=shard_size,
        teacher=teacher.digest,
        spec=teacher.spec,
        store=store,
        noise=source,
        classes=classes_of(teacher),
    )
    from_dict(Plan, to_dict(plan), str(folder))  # else nobody could read its manifest
    with exclusive(folder / f".{manifest_name(rank)}.lock"):
        manifest, stored = _begin(folder, plan, rank)
        shards, queries = {shard.file: shard for shard in manifest.shards}, manifest.queries
        for index in range(rank.own, -(-count // shard_size), rank.ranks):
            name = f"shard-{index:05d}.safetensors"
            size = min(shard_size, count - index * shard_size)
            if not (name in stored and stored[name].intact(folder)):
                queries += size if store is not Store.NONE else 0
                manifest_of(plan, queries, shards.values()).write(folder / manifest_name(rank))
                shards[name] = Shard(
                    name, size, write_tensors(folder / name, _answers(teacher, plan, *questions(size, index, plan)))
                )
                manifest_of(plan, queries, shards.values()).write(folder / manifest_name(rank))
            tell(index * shard_size + size)
        return manifest_of(plan, queries, shards.values())


def _check_sizes(mechanism: Mechanism, spec: Spec, count: int, shard_size: int) -> None:
    """Raise UserError unless shards fit into memory and are not too many for a manifest."""
    if count < 1 or shard_size < 1:
        raise UserError(f"{mechanism}: {count} pairs in shards of {shard_size}: both must be at least 1")
    if count > MOST_COUNT:
        raise UserError(f"{mechanism}: {shown(count)} pairs: ask for {MOST_COUNT:,} at most")
    pair = 4 * (spec.noise_dim + mechanism.channels * spec.image_size**2)  # bytes
    most = min(MEMORY // pair, MOST_BATCH)
    if shard_size > MOST_BATCH or min(count, shard_size) > most:
        raise UserError(f"{mechanism}: a shard of {shown(shard_size)} pairs is too large: pass --shard-size {most}")
    if count > MOST_SHARDS * shard_size:
        least = -(-count // MOST_SHARDS)
        raise UserError(
            f"{mechanism}: {count} pairs in shards of {shard_size} are more than {MOST_SHARDS:,} files: pass "
            f"--shard-size {least}, or ask for fewer pairs"
        )


def _answers(teacher: Teacher, plan: Plan, noise: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the tensors of one shard; queries the teacher unless no images are stored."""
    inputs = {"noise": noise, "labels": labels}
    if plan.store is Store.NONE:
        return inputs
    return inputs | encode(draw(teacher, plan.mechanism, noise, labels), plan.mechanism, plan.store)


def query_all(
    teacher: Teacher,
    out: Path,
    config: QueryConfig,
    *,
    seed: int = 0,
    questions: Questions = plan_shard,
    rank: Rank = Rank(),  # noqa: B008
    watch: Watch = log_progress,
) -> dict[str, int]:
    """Store training and held-out pairs of all mechanisms in ``out/MECHANISM/{train,held-out}``.

    Returns the queries that this rank spent on training pairs, by mechanism.
    """
    budgets = {
        Mechanism.SHAPE: config.shape,
        Mechanism.TEXTURE: config.texture,
        Mechanism.BACKGROUND: config.background,
    }
    teacher, spent = of_classes(teacher, parse_classes(config.classes, teacher.spec.classes)), {}
    recorded = recorded_questions(teacher)
    for mechanism, budget in budgets.items():  # all of them before the first query
        _check_sizes(mechanism, teacher.spec, max(budget, config.held_out), config.shard_size)
    for mechanism, budget in budgets.items():
        for purpose, count in ((HELD_OUT, config.held_out), (TRAIN, budget)):
            count = recorded.affordable(mechanism, purpose, count) if recorded else count
            manifest = query_pairs(
                teacher,
                mechanism,
                count,
                out / mechanism / purpose,
                seed=seed,
                shard_size=config.shard_size,
                purpose=purpose,
                store=config.store,
                source=_source(config, purpose, recorded),
                questions=recorded or questions,
                rank=rank,
                tell=watch(f"query {mechanism} ({purpose})", count),
            )
        spent[mechanism.value] = manifest.queries
    return spent


def _source(config: QueryConfig, purpose: Purpose, recorded: RecordedQuestions | None) -> Noise:
    if recorded:
        return Noise.RECORDED
    if config.noise is Noise.RECORDED:
        raise UserError("--noise recorded is for the pairs of a recording alone: pass --noise random or sobol")
    return config.noise if purpose == TRAIN else Noise.RANDOM


def _begin(folder: Path, plan: Plan, rank: Rank) -> tuple[Manifest, dict[str, Shard]]:
    """Return this rank's manifest, and every rank's shards by name; raise UserError if there are other pairs."""
    manifests = read_manifests(folder)
    names = [field.name for field in fields(Plan)]
    changes = [name for name in names if any(getattr(m, name) != getattr(plan, name) for m in manifests)]
    if changes:
        raise UserError(f"{folder} holds other pairs (differs in {', '.join(changes)}): choose another --out")
    path = folder / manifest_name(rank)
    own = read_manifest_file(path) if path.exists() else manifest_of(plan)
    return own, {shard.file: shard for manifest in manifests for shard in manifest.shards}
