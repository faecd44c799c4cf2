"""Filling a folder with the pairs of a plan: shard by shard, by one of several ranks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.base.config import Noise, Store
from skdcgn.base.errors import LostAnswerError, RefusedError, UserError
from skdcgn.base.files import exclusive
from skdcgn.base.progress import Tell, ignore
from skdcgn.base.rank import Rank
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.black_box import access_of
from skdcgn.cgn.drawer import BATCH, draw
from skdcgn.cgn.mechanism import Teacher
from skdcgn.pairs.answers import QuestionRows
from skdcgn.pairs.first_look import look_twice, rows_to_repeat
from skdcgn.pairs.journal import Journal
from skdcgn.pairs.ledger import Ledger
from skdcgn.pairs.manifest import (
    HELD_OUT,
    MOST_SHARDS,
    Manifest,
    Plan,
    Shard,
    grown,
    journal_of,
    manifest_of,
    read_manifest_file,
    read_manifests,
    shards_of,
)
from skdcgn.pairs.orders import BudgetSpentError, Task, batches
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
    places = plan.rows(index).start + torch.randperm(size, generator=rng)
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


def fill(
    teacher: Teacher,
    plan: Plan,
    folder: Path,
    *,
    questions: Questions = plan_shard,
    ledger: Ledger | None = None,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    tell: Tell = ignore,
) -> Manifest:
    """Store this rank's part of the pairs of ``plan`` in ``folder``; return its manifest.

    Args:
        questions: gives the noise (B, Z) and labels (B,) of a shard by its size, its index and the plan.
        ledger: books the queries of a paid black box; None for any other teacher.
    """
    with exclusive(folder / f".{manifest_name(rank)}.lock"):
        target = _begin(folder, plan, rank)
        if ledger:
            return _query_paid(ledger, target, questions, tell)
        return _query_free(teacher, target, questions, tell)


def reserve(plans: Sequence[Plan], out: Path, rank: Rank) -> None:
    """Note all plans in ``out/MECHANISM/PURPOSE`` before the first of them is asked: a later run keeps their counts."""
    for plan in plans:
        folder = out / plan.mechanism / plan.purpose
        with exclusive(folder / f".{manifest_name(rank)}.lock"):
            target = _begin(folder, plan, rank)
            if target.manifest.counts != target.plan.counts or not target.path.exists():
                target.journal(durable=True).note(target.manifest.queries)


@contextmanager
def release_at_fault(plans: Sequence[Plan], out: Path, rank: Rank) -> Iterator[None]:
    """If the black box turns out to answer wrongly, forget the plans that have no pairs: the next ones may differ."""
    try:
        yield
    except (LostAnswerError, RefusedError, BudgetSpentError):
        raise
    except UserError:
        for plan in plans:
            path = out / plan.mechanism / plan.purpose / manifest_name(rank)
            if path.exists() and not read_manifest_file(path).shards:
                path.unlink()
                journal_of(path).unlink(missing_ok=True)
        raise


def look_at(
    teacher: Teacher, plans: Sequence[Plan], out: Path, *, questions: Questions, ledger: Ledger | None, noisy: bool
) -> None:
    """Ask a black box twice for the first held-out pairs of each mechanism that lacks some pairs.

    Raises:
        UserError: the answers differ and ``noisy`` is false, or are no images.
    """
    missing = {plan.mechanism for plan in plans if not _is_stored(plan, out / plan.mechanism / plan.purpose)}
    for plan in plans:
        access = access_of(teacher)
        if access and plan.mechanism in missing and plan.purpose == HELD_OUT:
            folder = out / plan.mechanism / plan.purpose
            whole = grown(plan, read_manifests(folder), folder)
            noise, labels = questions(len(whole.rows(0)), 0, whole)
            query = batches(len(labels), access.batch)[0]
            rows = slice(_first_rows(len(query), rows_to_repeat(access)))
            if ledger:
                ledger.look(folder, QuestionRows(plan.mechanism, noise[rows], labels[rows]), noisy=noisy)
            else:
                look_twice(teacher, plan.mechanism, noise[rows], labels[rows], noisy=noisy)


def _first_rows(count: int, most: int) -> int:
    """Return ``most`` of ``count`` rows or all of them; one less rather than all but one (:func:`batches`)."""
    return most - 1 if count == most + 1 and most > 2 else min(count, most)


def _is_stored(plan: Plan, folder: Path) -> bool:
    manifests = read_manifests(folder)
    return sum(shard.count for shard in shards_of(manifests).values()) == plan.count


class Target(NamedTuple):
    """What a rank adds to a folder: the plan, the shards that it has to draw, and where it notes them."""

    folder: Path
    plan: Plan
    path: Path  # of this rank's manifest
    manifest: Manifest
    own: range  # the shards of this rank
    missing: set[int]

    def task(self, index: int, questions: Questions) -> Task:
        noise, labels = questions(len(self.plan.rows(index)), index, self.plan)
        return Task(index, QuestionRows(self.plan.mechanism, noise, labels))

    def write(self, index: int, tensors: dict[str, Tensor]) -> Shard:
        name = shard_name(index)
        return Shard(name, len(self.plan.rows(index)), write_tensors(self.folder / name, tensors))

    def journal(self, *, durable: bool) -> Journal:
        return Journal(self.path, self.plan, self.manifest, durable=durable)


def _query_free(teacher: Teacher, target: Target, questions: Questions, tell: Tell) -> Manifest:
    """Draw the missing shards of a teacher whose answers cost nothing."""
    plan, journal = target.plan, target.journal(durable=False)
    for index in target.own:
        if index in target.missing:
            size = len(plan.rows(index))
            journal.note(journal.queries + (size if plan.store is not Store.NONE else 0))
            tensors = _answers(teacher, plan, *questions(size, index, plan))
            journal.note(journal.queries, target.write(index, tensors))
        tell(plan.rows(index).stop)
    return journal.finish()


def _query_paid(ledger: Ledger, target: Target, questions: Questions, tell: Tell) -> Manifest:
    """Ask a paid black box, by the ledger, for the missing shards."""
    folder, plan, journal = target.folder, target.plan, target.journal(durable=True)
    tasks = (target.task(index, questions) for index in target.own if index in target.missing)
    ahead = plan.noise is not Noise.ACTIVE  # whose questions depend on the shard before
    for task, images in ledger.shards(tasks, folder, plan.purpose, ahead=ahead):
        inputs = {"noise": task.questions.noise, "labels": task.questions.labels}
        shard = target.write(task.number, inputs | encode(images, plan.mechanism, plan.store))
        journal.note(max(journal.queries, ledger.book.spent_on((plan.mechanism, plan.purpose))), shard)
        ledger.store(task, folder, shard)
        tell(plan.rows(task.number).stop)
    if target.own and target.own[-1] not in target.missing:
        tell(plan.rows(target.own[-1]).stop)
    return journal.finish()


def shard_name(index: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{index:05d}.safetensors"


def _answers(teacher: Teacher, plan: Plan, noise: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the tensors of one shard; queries the teacher unless no images are stored."""
    inputs = {"noise": noise, "labels": labels}
    if plan.store is Store.NONE:
        return inputs
    access = access_of(teacher)
    images = draw(teacher, plan.mechanism, noise, labels, batch_size=min(BATCH, access.batch) if access else BATCH)
    return inputs | encode(images, plan.mechanism, plan.store)


def _check_files(plan: Plan) -> None:
    """Raise UserError if a folder grew too often."""
    if plan.files > MOST_SHARDS:
        raise UserError(
            f"{plan.mechanism}: {plan.count} pairs that were asked in {len(plan.counts)} parts are more than "
            f"{MOST_SHARDS:,} files: choose another --out"
        )


def _begin(folder: Path, plan: Plan, rank: Rank) -> Target:
    """Return what this rank has to add; raise UserError if there are other pairs."""
    manifests = read_manifests(folder)
    plan, stored, path = grown(plan, manifests, folder), shards_of(manifests), folder / manifest_name(rank)
    _check_files(plan)
    own = read_manifest_file(path) if path.exists() else manifest_of(plan)
    shares = range(rank.own, plan.files, rank.ranks)
    missing = {i for i in shares if not (shard_name(i) in stored and stored[shard_name(i)].intact(folder))}
    return Target(folder, plan, path, own, shares, missing)
