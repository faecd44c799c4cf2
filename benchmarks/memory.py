"""Memory and seconds of ``skdcgn generate``, whose images go into their file as they are composed.

    python benchmarks/memory.py STUDENT --n 1000 --n 400000

Each number of images is drawn by a process of its own on one thread; its greatest resident memory counts, with Python,
torch and the weights. The files, of 12 KB an image of 32 pixels, are written to a temporary folder and removed. Lands
in ``results/memory.json``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from skdcgn.base.files import write_json
from skdcgn.results.versions import versions
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results"
CHILD = """
import resource, sys
from skdcgn.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def measure(cgn: str, n: int) -> dict[str, Any]:
    """Draw ``n`` counterfactuals in a process of its own; return its seconds, its memory and the size of the file."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        words = ["generate", cgn, "--out", folder, "--n", str(n)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *words], check=True, capture_output=True, text=True, env=environment
        )
        seconds = time.perf_counter() - start
        size = (Path(folder) / "counterfactuals.safetensors").stat().st_size
    mebibytes = int(done.stderr.split()[-1]) / 1024
    return {"n": n, "seconds": round(seconds, 1), "mebibytes": round(mebibytes, 1), "file_bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cgn", help="a teacher's name, a file, or a student's folder")
    parser.add_argument("--n", type=int, action="append", required=True, help="number of counterfactuals; repeatable")
    options = parser.parse_args()
    rows = [measure(options.cgn, n) for n in options.n]
    command = f"python benchmarks/memory.py {options.cgn} " + " ".join(f"--n {n}" for n in options.n)
    cgn = load_teacher(options.cgn)
    values = {"command": command, "versions": versions(), "parameters": cgn.size, "rows": rows}
    write_json(RESULTS / "memory.json", values)
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
