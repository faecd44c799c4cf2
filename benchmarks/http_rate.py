"""Pairs a second from a teacher behind HTTP on this machine, against the same teacher in this process.

    python benchmarks/http_rate.py double-colored-mnist

Both are asked by ``query_pairs`` in queries of 256, with all that it books and writes, in turn, one thread of PyTorch
each: the service is ``skdcgn serve`` in a process of its own. Every round asks for other pairs of each mechanism.
Ratios are of one round; medians. Lands in ``results/http-rate.json``.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from skdcgn.base.files import write_json
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.pairs.query import query_pairs
from skdcgn.results.versions import versions
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results"
PAIRS = 1024  # of each mechanism, in a round


@contextmanager
def service(cgn: str) -> Iterator[str]:
    """Run ``skdcgn serve`` for the block; yield its address."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "skdcgn", "serve", cgn, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        try:
            yield address[0]
        finally:
            process.terminate()


def seconds(teacher: Teacher, seed: int, pairs: int) -> float:
    """Return how long ``pairs`` pairs of each mechanism take."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for mechanism in Mechanism:
            query_pairs(teacher, mechanism, pairs, Path(folder) / mechanism, seed=seed, shard_size=pairs)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", nargs="?", default="double-colored-mnist")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with service(arguments.teacher) as address:
        sides = {"process": load_teacher(arguments.teacher), "http": load_teacher(address)}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for teacher in sides.values():
            seconds(teacher, 10**6, 256)  # warm
        for seed in range(arguments.rounds):
            for name in list(sides)[:: 1 if seed % 2 else -1]:
                times[name].append(seconds(sides[name], seed, PAIRS))
    ratios = [own / far for own, far in zip(times["process"], times["http"], strict=True)]
    rates = {name: 3 * PAIRS / median(own) for name, own in times.items()}
    record = {
        "command": f"python benchmarks/http_rate.py {arguments.teacher} --rounds {arguments.rounds}",
        "versions": versions(),
        "pairs_per_second": rates,
        "ratio": median(ratios),
        "ratios": ratios,
    }
    write_json(RESULTS / "http-rate.json", record)
    print(", ".join(f"{name}: {rate:,.0f} pairs/s" for name, rate in rates.items()))
    print(f"http / process: {median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
