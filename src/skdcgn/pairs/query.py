"""Pairs: (u, y, image) as a teacher answered, stored together from the moment they are drawn.

A mechanism's folder holds shards of safetensors and a manifest: how many queries were spent, which teacher
answered, and each shard's checksum. Noise and labels of shard i are a function of (seed, mechanism, i), so a
killed query goes on where it stopped and a finished one spends no query. Labels are balanced over the classes.

Many processes or machines share a folder: rank r of n draws the shards i with i mod n = r and keeps a manifest of its
own, so that no rank waits for another; whole shards are kept even if the next try has another number of ranks.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from skdcgn.base.bounds import MOST_BATCH, MOST_COUNT
from skdcgn.base.config import Noise, QueryConfig, Store
from skdcgn.base.errors import UserError, shown
from skdcgn.base.progress import Tell, Watch, ignore, log_progress
from skdcgn.base.rank import Rank
from skdcgn.base.records import from_dict, to_dict
from skdcgn.cgn.black_box import Access, access_of
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.subset import classes_of, of_classes, parse_classes
from skdcgn.pairs.budget import Counts, affordable, most_answers, requested
from skdcgn.pairs.filling import Questions, fill, look_at, plan_shard, release_at_fault, reserve
from skdcgn.pairs.ledger import Ledger, open_ledger
from skdcgn.pairs.manifest import MOST_SHARDS, TRAIN, Manifest, Plan, Purpose
from skdcgn.pairs.recorded import RecordedQuestions, recorded_questions
from skdcgn.pairs.stored import MEMORY


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
    ledger: Ledger | None = None,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    tell: Tell = ignore,
) -> Manifest:
    """Query ``teacher`` for this rank's part of ``count`` pairs and store them in ``folder``; return its manifest.

    Whole shards of an earlier, killed call are kept; queries are counted before they are sent, so that a shard
    that was lost half-way counts twice. A folder with fewer pairs grows. With ``Store.NONE`` the teacher is not
    queried.

    Args:
        questions: gives the noise (B, Z) and labels (B,) of a shard by its size, its index and the plan.
        ledger: books the queries of a paid black box; None opens one in ``folder``, without a budget.

    Raises:
        UserError: sizes are out of range, the folder holds other pairs, or the black box fails or costs too much.
    """
    plan = _plan_of(
        teacher,
        mechanism=mechanism,
        purpose=purpose,
        count=count,
        seed=seed,
        shard_size=shard_size,
        store=store,
        noise=source,
    )
    _check_plan(plan, access_of(teacher), str(folder))
    rank.check()
    with ExitStack() as stack:
        ledger = ledger or stack.enter_context(open_ledger(teacher, folder, rank=rank))
        return fill(teacher, plan, folder, questions=questions, ledger=ledger, rank=rank, tell=tell)


def _check_plan(plan: Plan, access: Access | None, origin: str) -> None:
    """Raise UserError unless shards fit into memory, are not too many for a manifest, and keep what was paid."""
    mechanism, spec, count, shard_size = plan.mechanism, plan.spec, plan.count, plan.shard_size
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
    if access and access.paid and plan.store is Store.NONE:
        raise UserError(f"{mechanism}: answers that cost money are stored: choose another --store than none")
    from_dict(Plan, to_dict(plan), origin)  # else nobody could read its manifest


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
    teacher = of_classes(teacher, parse_classes(config.classes, teacher.spec.classes))
    rank.check()
    request, access = requested_of(teacher, config, seed), access_of(teacher)
    spent, questions = dict[str, int](), recorded_questions(teacher) or questions
    with open_ledger(teacher, out, rank=rank, budget=most_answers(config)) as ledger:
        counts = affordable(config, request, out, access, ledger.books() if ledger else ())
        plans = plans_of(teacher, config, seed, counts)
        if ledger:
            reserve(plans, out, rank)
        if access and rank.own == 0:
            with release_at_fault(plans, out, rank):
                look_at(teacher, plans, out, questions=questions, ledger=ledger, noisy=config.noisy)
        for plan in plans:
            folder = out / plan.mechanism / plan.purpose
            tell = watch(f"query {plan.mechanism} ({plan.purpose})", plan.count)
            manifest = fill(teacher, plan, folder, questions=questions, ledger=ledger, rank=rank, tell=tell)
            if plan.purpose == TRAIN:
                spent[plan.mechanism.value] = manifest.queries
    return spent


def requested_of(teacher: Teacher, config: QueryConfig, seed: int) -> Counts:
    """Return the counts of a configuration, of recorded pairs those that there are.

    Raises:
        UserError: counts, shards, seed or storage are not possible.
    """
    request, recorded, access = requested(config), recorded_questions(teacher), access_of(teacher)
    for plan in plans_of(teacher, config, seed, request):  # all of them before the first query
        _check_plan(plan, access, f"{plan.mechanism} ({plan.purpose})")
    if recorded is None:
        return request
    return {part: recorded.affordable(*part, count) for part, count in request.items()}


def plans_of(teacher: Teacher, config: QueryConfig, seed: int, counts: Counts) -> list[Plan]:
    """Return the plan of each mechanism and purpose, in the order of their queries."""
    recorded = recorded_questions(teacher)
    return [
        _plan_of(
            teacher,
            mechanism=mechanism,
            purpose=purpose,
            count=count,
            seed=seed,
            shard_size=config.shard_size,
            store=config.store,
            noise=_source(config, purpose, recorded),
        )
        for (mechanism, purpose), count in counts.items()
    ]


def _plan_of(teacher: Teacher, **settings: Any) -> Plan:
    """Return a plan of these settings for the answers of a teacher."""
    return Plan(teacher=teacher.digest, spec=teacher.spec, classes=classes_of(teacher), **settings)


def _source(config: QueryConfig, purpose: Purpose, recorded: RecordedQuestions | None) -> Noise:
    if recorded:
        return Noise.RECORDED
    if config.noise is Noise.RECORDED:
        raise UserError("--noise recorded is for the pairs of a recording alone: pass --noise random or sobol")
    return config.noise if purpose == TRAIN else Noise.RANDOM
