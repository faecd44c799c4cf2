"""How seconds and memory grow: a thousand to a million counterfactuals, queries and pairs, by one process and several.

    python benchmarks/scale.py

Every row is a process of its own, or several at once, of one thread each; its seconds leave out the start of Python,
its memory is the greatest resident one, with Python and torch (some 300 MiB). Counterfactuals are of an untrained
student of the size of ``double-colored-digits``, composed alone or into a file; two processes draw half of them each.
Queries ask that preset's teacher for shapes, ``--most-queries`` at most, and a teacher that answers at once, which
leaves the cost of the pairs themselves. Pairs are shapes of 32 pixels, or textures, of that second teacher: to open a
folder and read one batch of 64. ``shards`` are folders of tiny pictures, four to a shard; ``manifests`` and ``books``
are what a rank reads of the others. Files go to a temporary folder; the largest is of 12.3 GB. Lands in
``results/scale.json`` and ``docs/results/figures/scale.png``.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from loading import student
from scale_figures import draw_scale, scale_table
from skdcgn.base.config import Store
from skdcgn.base.files import write_json
from skdcgn.base.presets import DEFAULT
from skdcgn.base.rank import Rank
from skdcgn.base.records import to_dict
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.compose import compose_batches
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.pairs.book import Book, Entry, State
from skdcgn.pairs.ledger import Ledger
from skdcgn.pairs.manifest import TRAIN, Plan, Shard, manifest_of, read_manifest, read_manifests
from skdcgn.pairs.query import query_pairs
from skdcgn.pairs.stored import StoredPairs
from skdcgn.results.versions import versions
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results"
BATCH, SHARD = 64, 1000
MOST_PNG = 10**5  # pairs; to write and read more takes minutes, and grows with their number
Row = dict[str, Any]


class Measure(NamedTuple):
    """When a job began and ended, by a clock that processes share, and MiB of its process at most."""

    start: float
    end: float
    mebibytes: float
    value: Any


class AtOnce:
    """A teacher whose answers cost nothing: flat pictures whose tone is a function of the noise."""

    digest, size = "at-once", None

    def __init__(self, image_size: int = 32, noise_dim: int = 32) -> None:
        self.spec = Spec(image_size=image_size, noise_dim=noise_dim)

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        tone = torch.sigmoid(noise[:, :1] + labels[:, None])[..., None, None]
        side = self.spec.image_size
        return tone.expand(-1, Mechanism(mechanism).channels, side, side).clone()


_together: list[Barrier] = []  # in a process that does a job


def keep(barrier: Barrier) -> None:
    _together.append(barrier)


def measured(job: Callable[[], Any]) -> Measure:
    """Do a job in this process, once all processes have begun."""
    torch.set_num_threads(1)
    _together[0].wait()
    start = time.perf_counter()
    value = job()
    end = time.perf_counter()
    return Measure(start, end, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, value)


def in_processes(*jobs: Callable[[], Any]) -> tuple[Row, list[Any]]:
    """Do each job in a new process, all at once; return seconds and memory of the greatest, and what jobs returned."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(jobs), spawn, keep, (spawn.Barrier(len(jobs)),)) as pool:
        ends = list(pool.map(measured, jobs))
    seconds = max(one.end for one in ends) - min(one.start for one in ends)
    row = {"seconds": round(seconds, 3), "mebibytes": round(max(one.mebibytes for one in ends), 1)}
    return row, [one.value for one in ends]


@contextmanager
def place(bytes_needed: float) -> Iterator[Path]:
    """Yield a temporary folder; raise OSError if its disk has not twice the space that the block needs."""
    with tempfile.TemporaryDirectory(prefix="skdcgn-scale-") as folder:
        free = shutil.disk_usage(folder).free
        if 2 * bytes_needed > free:
            raise OSError(f"{folder} has {free / 1e9:.0f} GB free, {2 * bytes_needed / 1e9:.0f} GB are needed")
        yield Path(folder)


def compose_all(n: int, seed: int) -> int:
    return sum(len(batch) for batch in compose_batches(student(32), n, seed=seed))


def generate(n: int, seed: int, out: Path) -> None:
    write_counterfactuals(student(32), out / str(seed), n, seed=seed)


def counterfactuals(n: int, processes: int, *, file: bool) -> Row:
    """Compose ``n`` counterfactuals, shared among processes, into files or into nothing."""
    with place(n * 12_300 if file else 0) as folder:
        jobs = [partial(generate, n // processes, seed, folder) if file else partial(compose_all, n // processes, seed)
                for seed in range(processes)]  # fmt: skip
        return {"n": n, "processes": processes, **in_processes(*jobs)[0]}


def teacher_named(name: str) -> Teacher:
    return AtOnce() if name == AtOnce.digest else load_teacher(name)


def ask(name: str, n: int, folder: Path, rank: Rank, store: Store, mechanism: Mechanism) -> None:
    query_pairs(teacher_named(name), mechanism, n, folder, shard_size=SHARD, store=store, rank=rank)


def queries(name: str, n: int, ranks: int, digests: dict[str, str]) -> Row:
    """Query ``n`` pairs of shapes, by ranks that share a folder; check that shards have the bytes of one rank's."""
    with place(n * 1200) as folder:
        jobs = [partial(ask, name, n, folder, Rank(own, ranks), Store.UINT8, Mechanism.SHAPE) for own in range(ranks)]
        row = in_processes(*jobs)[0]
        shards = {shard.file: shard.sha256 for shard in read_manifest(folder).shards}
        files = sum(1 for path in folder.iterdir() if path.is_file())
    same = shards == (digests or shards)
    digests.update(shards)
    return {"n": n, "ranks": ranks, **row, "files": files, "same_bytes_as_one_rank": same}


def open_folder(folder: Path, memory: int | None) -> dict[str, float]:
    """Open a folder of pairs and read a batch; return the seconds of both."""
    start = time.perf_counter()
    pairs = StoredPairs(folder) if memory is None else StoredPairs(folder, memory=memory)
    opened = time.perf_counter()
    rows = torch.randint(len(pairs), (BATCH,), generator=torch.Generator().manual_seed(0))
    pairs.images(rows)
    first = time.perf_counter()
    pairs.images(rows)
    return {"open": opened - start, "first_batch": first - opened, "next_batch": time.perf_counter() - first}


def pairs(n: int, store: Store, mechanism: Mechanism, memory: int | None) -> Row:
    """Store ``n`` pairs, then open the folder and read a batch in another process."""
    with place(n * (128 + 1024 * mechanism.channels * (4 if store is Store.FLOAT32 else 1))) as folder:
        written = in_processes(partial(ask, AtOnce.digest, n, folder, Rank(), store, mechanism))[0]
        row, [parts] = in_processes(partial(open_folder, folder, memory))
    return {"n": n, **row, **{k: round(v, 4) for k, v in parts.items()}, "write_seconds": written["seconds"]}


def tiny_shards(count: int, folder: Path) -> dict[str, float]:
    """Query shards of four pictures of 4 pixels, query them again, open the folder; return the seconds of each."""
    ask_all = partial(query_pairs, AtOnce(4, 4), Mechanism.SHAPE, 4 * count, folder, shard_size=4)
    seconds = {}
    for name, job in (("query", ask_all), ("query_again", ask_all), ("open", partial(StoredPairs, folder))):
        start = time.perf_counter()
        job()
        seconds[name] = round(time.perf_counter() - start, 3)
    return seconds


def shards_of_a_folder(count: int) -> Row:
    with place(count * 8192) as folder:
        row, [parts] = in_processes(partial(tiny_shards, count, folder))
        return {"n": count, **row, **parts, "manifest_bytes": (folder / "manifest.json").stat().st_size}


def read_of_ranks(folder: Path) -> int:
    return len(read_manifests(folder))


def manifests_of_ranks(ranks: int, shards: int) -> Row:
    """Read the manifests of many ranks, as each of them does when it begins."""
    with place(1e8) as folder:
        plan = Plan(mechanism=Mechanism.SHAPE, purpose=TRAIN, count=1000 * shards, seed=0, shard_size=1000,
                    teacher=AtOnce.digest, spec=AtOnce().spec)  # fmt: skip
        whole = [Shard(f"shard-{index:05d}.safetensors", 1000, "0" * 64) for index in range(shards)]
        for own in range(ranks):
            manifest = manifest_of(plan, 0, whole[own::ranks])
            (folder / f"manifest-{own}.json").write_text(json.dumps(to_dict(manifest), indent=2))
        return {"n": ranks, "shards": shards, **in_processes(partial(read_of_ranks, folder))[0]}


class Paid(AtOnce):
    """The same as a paid black box."""

    access = Access(batch=64, paid=True)


def book_one(folder: Path, ranks: int) -> dict[str, float]:
    """Read the books of all ranks, then book a query after each rank has booked another."""
    cgn, start = Paid(4, 4), time.perf_counter()
    ledger = Ledger(cgn, Paid.access, folder, Rank(0, ranks), 10**9)
    ledger.books()
    first = time.perf_counter() - start
    for own in range(1, ranks):
        book = Book(folder / f"ledger-{own}.jsonl")
        book.add(Entry(f"{own}-999999", State.ANSWERED, Mechanism.SHAPE, TRAIN, 64))
    start = time.perf_counter()
    ledger.books()
    seconds = time.perf_counter() - start
    ledger.pool.shutdown()
    return {"first": round(first, 3), "next": round(seconds, 4)}


def books_of_ranks(ranks: int, lines: int) -> Row:
    """Book a query beside the books of other ranks, which all have grown since the last one."""
    with place(1e8) as folder:
        for own in range(1, ranks):
            entries = (Entry(f"{own}-{n:06d}", State.ANSWERED, Mechanism.SHAPE, TRAIN, 64) for n in range(lines))
            (folder / f"ledger-{own}.jsonl").write_text("".join(entry.to_line() for entry in entries))
        row, [parts] = in_processes(partial(book_one, folder, ranks))
        return {"n": ranks, "lines": lines, **row, **parts}


def note(kind: str, row: Row) -> Row:
    print(kind, row, flush=True)
    return row


def measure_all(sizes: list[int], most_queries: int, shards: list[int]) -> dict[str, Any]:
    """Measure everything, from small to large."""
    record: dict[str, Any] = {"counterfactuals": {}, "queries": {}, "pairs": {}}
    for processes in (1, 2):
        for file in (False, True):
            name = f"{'into a file' if file else 'composed'}, {processes} process{'es' if processes > 1 else ''}"
            record["counterfactuals"][name] = [note(name, counterfactuals(n, processes, file=file)) for n in sizes]
    for teacher in (DEFAULT, AtOnce.digest):
        own = [n for n in sizes if n <= most_queries or teacher == AtOnce.digest]
        digests: dict[int, dict[str, str]] = {n: {} for n in own}
        for ranks in (1, 2, 4) if teacher == DEFAULT else (1, 4):
            name = f"{'teacher' if teacher == DEFAULT else 'no cost'}, {ranks} rank{'s' if ranks > 1 else ''}"
            record["queries"][name] = [note(name, queries(teacher, n, ranks, digests[n])) for n in own]
    kinds: dict[str, tuple[Store, Mechanism, int | None]] = {
        "float32": (Store.FLOAT32, Mechanism.SHAPE, None),
        "uint8": (Store.UINT8, Mechanism.SHAPE, None),
        "png": (Store.PNG, Mechanism.SHAPE, None),
        "uint8 textures, read by row": (Store.UINT8, Mechanism.TEXTURE, 0),
    }
    for name, kind in kinds.items():
        own = [n for n in sizes if n <= MOST_PNG or name != "png"]
        record["pairs"][name] = [note(name, pairs(n, *kind)) for n in own]
    record["shards"] = [note("shards", shards_of_a_folder(count)) for count in shards]
    record["manifests"] = [note("manifests", manifests_of_ranks(ranks, 1000)) for ranks in (1, 100, 1000)]
    record["books"] = [note("books", books_of_ranks(ranks, 100)) for ranks in (1, 100, 1000)]
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--most-queries", type=int, default=10**5, help="of the real teacher")
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 10_000], help="of a folder")
    arguments = parser.parse_args()
    start = time.perf_counter()
    record = measure_all(arguments.sizes, arguments.most_queries, arguments.shards)
    command = f"python benchmarks/scale.py --sizes {' '.join(map(str, arguments.sizes))}"
    seconds = round(time.perf_counter() - start)
    values = {"command": command, "versions": versions(), "seconds": seconds, **record}
    write_json(RESULTS / "scale.json", values)
    curves = {name: record[name] for name in ("counterfactuals", "queries", "pairs")}
    draw_scale(curves)
    print(*(f"{name}\n{scale_table(lines)}" for name, lines in curves.items()), f"{seconds} s", sep="\n")


if __name__ == "__main__":
    main()
