"""Time what a student of each preset takes, its queries and its distillation, and keep it as JSON.

    python benchmarks/distilling.py

Nothing else should run meanwhile. Students are thrown away; ``benchmarks/results/distilling.json`` keeps the seconds.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from skdcgn.distiller import distill
from skdcgn.evaluate import versions
from skdcgn.files import write_json
from skdcgn.pairs import query_all
from skdcgn.presets import RUNS, run_preset
from skdcgn.study import spread
from skdcgn.teachers.registry import load_teacher

RESULT = Path(__file__).parent / "results" / "distilling.json"


def seconds(preset: str, seed: int) -> dict[str, float]:
    """Return how long the queries and the distillation of one seed took, one after the other."""
    config, teacher = run_preset(preset), load_teacher(run_preset(preset).teacher)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        query_all(teacher, Path(folder) / "pairs", config.query, seed=seed)
        queried = time.perf_counter()
        distill(Path(folder) / "pairs", Path(folder) / "run", config.distill, seed=seed, device="cpu")
        return {"query": queried - started, "distill": time.perf_counter() - queried}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=[name for name in RUNS if name != "smoke"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    taken = {}
    for preset in chosen.presets:
        rows = [seconds(preset, seed) for seed in chosen.seeds]
        taken[preset] = {stage: spread([row[stage] for row in rows]) for stage in rows[0]} | {"runs": rows}
        print(preset, {stage: round(taken[preset][stage]["mean"], 1) for stage in rows[0]}, flush=True)
    command = " ".join(["python benchmarks/distilling.py", *chosen.presets, "--seeds", *map(str, chosen.seeds)])
    write_json(RESULT, {"command": command, "versions": versions(), "seconds": taken})


if __name__ == "__main__":
    main()
