"""Manifests of stored pairs: the plan, the queries spent and the checksums of the shards, one file per rank."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from skdcgn.base.config import Noise, Store
from skdcgn.base.door import read_json
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256, write_json
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism, Spec

TRAIN, HELD_OUT = "train", "held-out"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that determines the pairs of a folder.

    ``count`` pairs in shards of ``shard_size``; ``purpose`` is ``train`` or ``held-out``; ``teacher`` is its digest;
    ``classes`` are those of the whole teacher that the pairs have, None for all.
    """

    mechanism: Mechanism
    purpose: str
    count: int
    seed: int
    shard_size: int
    teacher: str
    spec: Spec
    store: Store = Store.FLOAT32
    noise: Noise = Noise.RANDOM
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Shard:
    """A file of ``count`` pairs and its checksum."""

    file: str
    count: int
    sha256: str

    def intact(self, folder: Path) -> bool:
        """Return whether the file is in ``folder`` with this checksum."""
        path = folder / self.file
        return path.is_file() and sha256(path) == self.sha256


@dataclass(frozen=True, kw_only=True)
class Manifest(Plan):
    """A plan, the queries spent on it, and its shards in order."""

    queries: int = 0
    shards: tuple[Shard, ...] = ()

    @property
    def plan(self) -> Plan:
        return Plan(**{field.name: getattr(self, field.name) for field in fields(Plan)})

    def write(self, path: Path) -> None:
        write_json(path, to_dict(self))


def manifest_of(plan: Plan, queries: int = 0, shards: Iterable[Shard] = ()) -> Manifest:
    """Return a manifest of ``plan`` with its shards in the order of their names."""
    values = {field.name: getattr(plan, field.name) for field in fields(Plan)}
    return Manifest(**values, queries=queries, shards=tuple(sorted(shards, key=lambda shard: shard.file)))


def read_manifest_file(path: Path) -> Manifest:
    """Read one rank's manifest; raise UserError if it is missing, damaged or something else."""
    try:
        return TypeAdapter(Manifest).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "its content"
        raise UserError(
            f"{path} is no manifest of pairs ({key}: {first['msg'].lower()}): run the query again into another folder"
        ) from None


def read_manifests(folder: Path) -> list[Manifest]:
    """Read the manifests of all ranks."""
    return [read_manifest_file(path) for path in sorted(folder.glob("manifest*.json"))]


def read_manifest(folder: Path) -> Manifest:
    """Join the manifests of all ranks: the plan, all shards and all queries.

    Raises:
        UserError: there are no pairs, those of several plans, or not all of them.
    """
    manifests = read_manifests(folder)
    if not manifests:
        raise UserError(f"{folder / 'manifest.json'} does not exist: run skdcgn query, or check the path")
    plan = manifests[0].plan
    shards = {shard.file: shard for manifest in manifests for shard in manifest.shards}
    stored = sum(shard.count for shard in shards.values())
    if any(manifest.plan != plan for manifest in manifests):
        raise UserError(f"{folder} holds pairs of several plans: query again into another folder")
    if stored != plan.count:
        raise UserError(f"{folder} holds {stored} of {plan.count} pairs: run the query again to finish it")
    return manifest_of(plan, sum(manifest.queries for manifest in manifests), shards.values())
