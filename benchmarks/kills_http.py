"""Kill a client of a flaky service at random moments, repeat its commands, and read the service's own count.

    python benchmarks/kills_http.py --kills 100

The service is ``skdcgn serve double-colored-digits --fail 0.05 --seed S``: 5 % of its queries are errors, 1 % broken
connections, 1 % late, 0.5 % wrong bodies. The client runs ``skdcgn query URL --out PAIRS --budget N`` and ``skdcgn
distill PAIRS``, is killed by SIGKILL one to three times, and repeats both until they end. Then the service must have
answered no pair twice as paid and no more pairs than the budget; all shards and the student must have the same bytes as
those of a service without faults, and as those of the teacher in the client's own process. Each trial has a service of
its own. Processes are forked from one that has imported torch. Lands in ``results/kills-http.json``.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kills import LONGEST, NARROW, POLL, PRELOADED, RESULTS, SERVER, TEACHER, files_in, first_file, started, write_to
from skdcgn.base.files import write_json

BUDGET, FAIL, BATCH = 150, 0.05, 4
QUERY = f"--shape 80 --texture 60 --background 60 --held-out 20 --shard-size 20 --budget {BUDGET}"
DISTILL = f"--steps 3 --save-every 1 --batch-size 8 --device cpu {' '.join(NARROW)}"
WHILE_QUERYING = 0.8  # of the kills; the others come at any moment
SERVED = ["uvicorn", "fastapi", "skdcgn.deploy.serve_app", "skdcgn.teachers.remote", "skdcgn.students.distill"]


class Trial(NamedTuple):
    """A client that was killed and repeated: kills by stage, ends with an error, the service's count, differences."""

    kills: list[str]
    errors: list[str]
    stats: dict[str, int]
    different: list[str]

    @property
    def clean(self) -> bool:
        return not self.different and self.stats["repeated"] == 0 and self.stats["answers"] <= BUDGET


class Timing(NamedTuple):
    """Seconds of an undisturbed client from its start: to its first file, to the end of query, to its end."""

    first: float
    query: float
    end: float


def commands(source: str, out: Path) -> list[list[str]]:
    """Return the words of the client's two commands."""
    return [
        f"query {source} --out {out}/pairs {QUERY} --device cpu".split(),
        f"distill {out}/pairs --out {out}/run {DISTILL}".split(),
    ]


def run_all(lines: Sequence[Sequence[str]], log: str) -> None:
    """Run commands one after the other in this process, with their output in the file ``log``."""
    write_to(log)
    import torch

    from skdcgn.cli import main

    torch.set_num_threads(1)
    for words in lines:
        sys.argv = ["skdcgn", *words]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise


@contextmanager
def service(fail: float, seed: int, log: Path) -> Iterator[str]:
    """Serve the teacher in a process; yield its address."""
    log.write_text("")
    words = f"serve {TEACHER} --port 0 --batch {BATCH} --fail {fail} --seed {seed} --device cpu".split()
    with started(run_all, [words], log) as process:
        while not (address := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            if not process.is_alive():
                sys.exit(f"the service does not start: {log.read_text()}")
            time.sleep(POLL)
        yield address[0]


def stats_of(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/stats", timeout=60) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


def contents(out: Path) -> dict[str, str]:
    """Return a digest of each shard and of the student's weights."""
    files = [path for path in files_in(out) if path.name.startswith("shard-") or path.parent.name == "student"]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def undisturbed(source: str, out: Path, log: Path) -> Timing:
    """Run the client to its end."""
    out.mkdir()
    start = time.monotonic()
    with started(run_all, commands(source, out), log) as process:
        first_file(process, out)
        first = time.monotonic() - start
        while process.is_alive() and not (out / "run").exists():
            time.sleep(POLL)
        query = time.monotonic() - start
        process.join(LONGEST)
    if process.exitcode != 0:
        sys.exit(f"the client ends with {process.exitcode}: {log.read_text()}")
    return Timing(first, query, time.monotonic() - start)


def disturb(work: Path, timing: Timing, expected: dict[str, str], rng: random.Random, seed: int) -> Trial:
    """Kill a client one to three times, repeat it until it ends, and compare."""
    out, log = work / "disturbed", work / "disturbed.log"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    log.write_text("")
    trial, planned = Trial([], [], {}, []), rng.choice((1, 1, 2, 3))
    with service(FAIL, seed, work / "service.log") as url:
        for _ in range(99):
            if _run(trial, url, out, log, _moment(timing, rng) if len(trial.kills) < planned else None):
                break
        trial.stats.update(stats_of(url))
    actual = contents(out)
    trial.different.extend(sorted(n for n in expected.keys() | actual.keys() if expected.get(n) != actual.get(n)))
    if not trial.clean:
        shutil.copy(log, work / f"unclean-{seed}.log")
    return trial


def _moment(timing: Timing, rng: random.Random) -> float:
    """Return after how many seconds to kill the client."""
    end = timing.query if rng.random() < WHILE_QUERYING else timing.end
    return rng.uniform(0.8 * timing.first, end)


def _run(trial: Trial, url: str, out: Path, log: Path, moment: float | None) -> bool:
    """Start the client and kill it at a moment, if any; return whether it came to its end."""
    with started(run_all, commands(url, out), log) as process:
        process.join(LONGEST if moment is None else moment)
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join(LONGEST)
            trial.kills.append("distill" if (out / "run").exists() else "query")
            return False
    if process.exitcode != 0:
        trial.errors.append(log.read_text().splitlines()[-1])
    return process.exitcode == 0


def measure(kills: int, seed: int, work: Path) -> dict[str, object]:
    """Run and kill clients; return the record."""
    rng = random.Random(seed)
    timing, expected = _expected(work)
    trials: list[Trial] = []
    while (count := sum(len(trial.kills) for trial in trials)) < kills:
        trials.append(disturb(work, timing, expected, rng, 1 + len(trials)))
        print(f"{count}: {trials[-1]}", flush=True)
    return {
        "command": f"python benchmarks/kills_http.py --kills {kills} --seed {seed}",
        "budget": BUDGET,
        "kills": sum(len(trial.kills) for trial in trials),
        "kills_by_stage": dict(Counter(stage for trial in trials for stage in trial.kills)),
        "trials": len(trials),
        "requests": sum(trial.stats["requests"] for trial in trials),
        "most_answers": max(trial.stats["answers"] for trial in trials),
        "repeated": sum(trial.stats["repeated"] for trial in trials),
        "ends_with_an_error": dict(Counter(line for trial in trials for line in trial.errors)),
        "unclean": [trial._asdict() for trial in trials if not trial.clean],
    }


def _expected(work: Path) -> tuple[Timing, dict[str, str]]:
    """Run a client undisturbed with the teacher itself, and with a service without faults; return the bytes of both."""
    undisturbed(TEACHER, work / "teacher", work / "teacher.log")
    with service(0, 0, work / "service.log") as url:
        timing = undisturbed(url, work / "faultless", work / "faultless.log")
        print(timing, stats_of(url), flush=True)
    expected = contents(work / "teacher")
    if contents(work / "faultless") != expected:
        sys.exit("a service without faults gives other bytes than its teacher")
    return timing, expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for all files, which are deleted otherwise")
    arguments = parser.parse_args()
    SERVER.set_forkserver_preload([*PRELOADED, *SERVED])
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        record = measure(arguments.kills, arguments.seed, arguments.keep)
    else:
        with tempfile.TemporaryDirectory() as work:
            record = measure(arguments.kills, arguments.seed, Path(work))
    write_json(RESULTS / "kills-http.json", record)


if __name__ == "__main__":
    main()
