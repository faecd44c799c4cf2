"""Time from the start of ``skdcgn run`` until its first picture is in the folder, process start included.

    python benchmarks/first_picture.py

Nothing else should run meanwhile. The run is interrupted then and its folder thrown away;
``benchmarks/results/first-picture.json`` keeps the seconds.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from skdcgn.base.files import write_json
from skdcgn.base.presets import DEFAULT
from skdcgn.base.records import to_dict
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.versions import versions

RESULTS = Path(__file__).parent / "results"


def seconds(preset: str) -> float:
    """Return the seconds until the picture of one run."""
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = subprocess.Popen([sys.executable, "-m", "skdcgn", "run", preset, "--out", f"{folder}/run"])
        while not (Path(folder) / "run" / "pictures" / "first.png").exists():
            if run.poll() is not None:
                raise SystemExit(f"the run ended before its first picture, with status {run.returncode}")
            time.sleep(0.02)
        elapsed = time.perf_counter() - started
        run.send_signal(signal.SIGINT)
        run.wait()
        return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = [seconds(arguments.preset) for _ in range(arguments.rounds)]
    print(f"first picture after {min(rounds):.1f} to {max(rounds):.1f} s")
    record = {
        "command": f"python benchmarks/first_picture.py {arguments.preset} --rounds {arguments.rounds}",
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "seconds": {**to_dict(mean_and_deviation(rounds)), "rounds": rounds},
    }
    write_json(RESULTS / "first-picture.json", record)


if __name__ == "__main__":
    main()
