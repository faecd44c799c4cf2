"""Manifests of stored pairs: the plan, the queries spent and the checksums of the shards, one file per rank.

While a rank works, a journal beside its manifest has a line for each shard (:mod:`skdcgn.pairs.journal`); whoever reads
the manifest reads on there.

A folder may grow: the same plan with a greater count keeps its shards and adds further ones. The plan then states the
earlier counts, so that its layout in shards is a function of the plan alone. A rank that had nothing to add may state
the shorter plan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import FailFast, Field

from skdcgn.base.bounds import Batch, Count, Seed, Whole
from skdcgn.base.config import Noise, Store
from skdcgn.base.door import parse_record, read_record, read_text
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import sha256, write_json
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism, Spec

Purpose = Literal["train", "held-out"]
Part = tuple[Mechanism, Purpose]  # of the pairs of a teacher
TRAIN: Purpose = "train"
HELD_OUT: Purpose = "held-out"
MOST_SHARDS = 20_000  # of a mechanism: each takes 155 bytes of a manifest, and two lines of a journal
QUERY_AGAIN = "run the query again into another folder"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that determines the pairs of a folder.

    ``count`` pairs in shards of ``shard_size``; ``purpose`` is ``train`` or ``held-out``; ``teacher`` is its digest;
    ``classes`` are those of the whole teacher that the pairs have, None for all. ``earlier`` are the counts from which
    the folder grew: the last shard of each of them may be a smaller one.

    Raises:
        UserError: the counts do not increase.
    """

    mechanism: Mechanism
    purpose: Purpose
    count: Count
    seed: Seed
    shard_size: Batch
    teacher: str
    spec: Spec
    store: Store = Store.FLOAT32
    noise: Noise = Noise.RANDOM
    classes: tuple[Whole, ...] | None = None
    earlier: tuple[Count, ...] = ()

    def __post_init__(self) -> None:
        if any(after <= before for before, after in pairwise(self.counts)):
            raise UserError("its earlier counts do not increase")

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts that the folder had, up to the present one."""
        return *self.earlier, self.count

    @property
    def files(self) -> int:
        """The number of shards."""
        return sum(-(-(end - start) // self.shard_size) for start, end in pairwise((0, *self.counts)))

    def rows(self, index: int) -> range:
        """Return the rows of shard ``index``, of all pairs in the order of the plan."""
        for start, end in pairwise((0, *self.counts)):
            files = -(-(end - start) // self.shard_size)
            if index < files:
                first = start + index * self.shard_size
                return range(first, min(first + self.shard_size, end))
            index -= files
        raise IndexError(index)


@dataclass(frozen=True)
class Shard:
    """A file of ``count`` pairs and its checksum."""

    file: Annotated[str, Field(pattern=r"^shard-[0-9]{5}\.safetensors$")]
    count: Batch
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    def intact(self, folder: Path) -> bool:
        """Return whether the file is in ``folder`` with this checksum."""
        path = folder / self.file
        return path.is_file() and sha256(path) == self.sha256


@dataclass(frozen=True, kw_only=True)
class Manifest(Plan):
    """A plan, the queries spent on it, and its shards in order."""

    queries: Whole = 0
    shards: Annotated[tuple[Shard, ...], FailFast()] = ()

    @property
    def plan(self) -> Plan:
        return Plan(**{field.name: getattr(self, field.name) for field in fields(Plan)})

    def write(self, path: Path) -> None:
        write_json(path, to_dict(self))


def manifest_of(plan: Plan, queries: int = 0, shards: Iterable[Shard] = ()) -> Manifest:
    """Return a manifest of ``plan`` with its shards in the order of their names."""
    values = {field.name: getattr(plan, field.name) for field in fields(Plan)}
    return Manifest(**values, queries=queries, shards=tuple(sorted(shards, key=lambda shard: shard.file)))


@dataclass(frozen=True)
class Note:
    """A line of a journal: the queries spent so far and, once it is on disk, a shard."""

    queries: Whole
    shard: Shard | None = None


def journal_of(manifest: Path) -> Path:
    """Return the journal of the rank that writes ``manifest``."""
    return manifest.with_suffix(".journal")


def read_journal(path: Path) -> list[Note]:
    """Read the notes of a journal, none if there is no such file; leave out the half line of a killed process.

    Raises:
        UserError: a line is no note.
    """
    text = read_text(path) if path.exists() or path.is_symlink() else ""
    lines = text[: text.rfind("\n") + 1].split("\n")[:-1]
    return [parse_record(line, Note, f"{path}, line {row}", QUERY_AGAIN) for row, line in enumerate(lines, start=1)]


def read_manifest_file(path: Path) -> Manifest:
    """Read one rank's manifest and journal; raise UserError if one is damaged, or the manifest is missing."""
    notes = read_journal(journal_of(path))  # first: it is removed once the manifest has its lines
    manifest = read_record(path, Manifest, QUERY_AGAIN)
    if not notes:
        return manifest
    shards = shards_of([manifest]) | {note.shard.file: note.shard for note in notes if note.shard}
    queries = max(manifest.queries, *(note.queries for note in notes))
    return manifest_of(manifest.plan, queries, shards.values())


def read_manifests(folder: Path) -> list[Manifest]:
    """Read the manifests of all ranks."""
    return [read_manifest_file(path) for path in sorted(folder.glob("manifest*.json"))]


def shards_of(manifests: Iterable[Manifest]) -> dict[str, Shard]:
    """Return the shards of several manifests by the names of their files."""
    return {shard.file: shard for manifest in manifests for shard in manifest.shards}


def grown(plan: Plan, manifests: Sequence[Manifest], folder: Path) -> Plan:
    """Return ``plan`` with the earlier counts of ``folder``, whose manifests these are.

    Raises:
        UserError: the folder holds pairs of another plan, or more of them.
    """
    names = [field.name for field in fields(Plan) if field.name not in ("count", "earlier")]
    changes = [name for name in names if any(getattr(m, name) != getattr(plan, name) for m in manifests)]
    if changes:
        raise UserError(f"{folder} holds other pairs (differs in {', '.join(changes)}): choose another --out")
    counts = max((manifest.counts for manifest in manifests), key=len, default=())
    if any(counts[: len(manifest.counts)] != manifest.counts for manifest in manifests):
        raise UserError(f"{folder} holds pairs of several plans: {QUERY_AGAIN}")
    if counts and plan.count < counts[-1]:
        raise UserError(
            f"{folder} holds other pairs (differs in count: {counts[-1]} of them are planned, more than "
            f"{plan.count}): ask for as many, or choose another --out"
        )
    return replace(plan, earlier=tuple(count for count in counts if count < plan.count))


def read_manifest(
    folder: Path, mechanism: Mechanism | None = None, purpose: Purpose | None = None, *, first: int | None = None
) -> Manifest:
    """Join the manifests of all ranks: the plan, all shards and all queries.

    Args:
        mechanism: whose pairs the caller needs; None: any.
        purpose: that they must have been queried for; None: any.
        first: how many pairs the caller needs, those of the first shards; later ones may be missing, and are left out.
            None: all.

    Raises:
        UserError: there are no pairs, those of several plans, not all of them, or others than the caller needs.
    """
    manifests = read_manifests(folder)
    if not manifests:
        raise UserError(f"{folder / 'manifest.json'} does not exist: run skdcgn query, or check the path")
    plan = max((manifest.plan for manifest in manifests), key=lambda one: one.count)
    shards = _first(shards_of(manifests), first)
    stored, needed = sum(shard.count for shard in shards.values()), plan.count if first is None else first
    _check_one_plan(plan, manifests, folder)
    if plan.mechanism is not (mechanism or plan.mechanism) or plan.purpose != (purpose or plan.purpose):
        raise UserError(
            f"{folder} holds the {plan.purpose} pairs of {plan.mechanism}, not the {purpose or plan.purpose} pairs of "
            f"{mechanism or plan.mechanism}: put its files back in their own folder, or {QUERY_AGAIN}"
        )
    if stored != needed:
        raise UserError(f"{folder} holds {stored} of {needed} pairs: run the query again to finish it")
    return manifest_of(plan, sum(manifest.queries for manifest in manifests), shards.values())


def _first(shards: dict[str, Shard], count: int | None) -> dict[str, Shard]:
    """Return the first shards that hold ``count`` pairs or fewer; None: all."""
    if count is None:
        return shards
    ordered = sorted(shards)
    ends = accumulate(shards[name].count for name in ordered)
    return {name: shards[name] for name, end in zip(ordered, ends, strict=True) if end <= count}


def _check_one_plan(plan: Plan, manifests: Sequence[Manifest], folder: Path) -> None:
    for one in manifests:
        same = replace(one.plan, count=plan.count, earlier=plan.earlier) == plan
        if not same or plan.counts[: len(one.counts)] != one.counts:
            raise UserError(f"{folder} holds pairs of several plans: {QUERY_AGAIN}")


def read_plans(pairs: Path, purpose: Purpose) -> dict[Mechanism, Plan]:
    """Return the plan of each mechanism's pairs in ``pairs/MECHANISM/PURPOSE``.

    Raises:
        UserError: pairs are missing, lie in another's folder, or are answers of several teachers.
    """
    plans = {one: read_manifest(pairs / one / purpose, one, purpose).plan for one in Mechanism}
    first = plans[Mechanism.SHAPE]
    for mechanism, plan in plans.items():
        if (plan.teacher, plan.spec, plan.classes) != (first.teacher, first.spec, first.classes):
            raise UserError(
                f"{pairs / mechanism / purpose} holds answers of the teacher {shown(plan.teacher)}, the pairs of shape "
                f"those of {shown(first.teacher)}: query one teacher for all mechanisms"
            )
    return plans
