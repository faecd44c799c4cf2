"""Time a student of each preset: its queries, its distillation, and a step of it under each loss, in turn.

    python benchmarks/distilling.py
    python benchmarks/distilling.py double-colored-digits --seeds 0 1 --against ../old/src

With ``--against`` another version of the package, by its folder ``src``, does the same in turn. Nothing else should run
meanwhile. Students are thrown away; ``benchmarks/results/distilling-PRESET.json`` keeps the seconds and each student's
L1 on held-out pairs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import skdcgn
from skdcgn.base.config import DistillConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import RUNS, run_preset
from skdcgn.base.records import override, to_dict
from skdcgn.cgn.drawings import class_columns
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.timing import median_seconds
from skdcgn.experiments.student_studies import LOSSES
from skdcgn.pairs.query import query_all
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill
from skdcgn.students.method import Distill
from skdcgn.students.start import new_student
from skdcgn.teachers.load import load_teacher
from skdcgn.training.loop import Step

RESULTS = Path(__file__).parent / "results"


def one_seed(preset: str, seed: int) -> dict[str, float]:
    """Return the seconds of the queries and of the distillation of one seed, and the L1 of its student by mechanism."""
    config = run_preset(preset)
    teacher = load_teacher(config.teacher)
    with TemporaryDirectory() as folder:
        pairs, started = Path(folder) / "pairs", time.perf_counter()
        query_all(teacher, pairs, config.query, seed=seed)
        queried = time.perf_counter()
        student = distill(pairs, Path(folder) / "run", config.distill, seed=seed, device="cpu")
        distilled = time.perf_counter()
        l1 = {f"l1 {mechanism}": one.student for mechanism, one in fidelity(student, pairs)[0].items()}
    return {"query": queried - started, "distill": distilled - queried, **l1}


def one_seed_of(source: Path, preset: str, seed: int) -> dict[str, float]:
    """Return what :func:`one_seed` returns with the package in the folder ``source``, in a process of its own."""
    command = [sys.executable, __file__, preset, "--seeds", str(seed), "--print"]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    row: dict[str, float] = json.loads(output)
    return row


def method(config: DistillConfig, spec: Spec) -> Distill:
    return Distill(config, new_student(config, Mechanism.TEXTURE, spec))


def step_seconds(preset: str, rounds: int = 20) -> dict[str, float]:
    """Return the median seconds of a step that distills textures under each of the losses that the study compares."""
    base = run_preset(preset)
    teacher = load_teacher(base.teacher)
    noise, labels = class_columns(teacher, -(-base.distill.batch_size // teacher.spec.classes), seed=0)
    batch = {"noise": noise, "labels": labels, "images": teacher.query(Mechanism.TEXTURE, noise, labels).clone()}
    steps = {
        name: partial(method(override(base, changes).distill, teacher.spec).step, batch, Step())
        for name, changes in LOSSES.items()
    }
    return median_seconds(steps, rounds, warm_up=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=[name for name in RUNS if name != "smoke"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--against", type=Path, help="folder src of another version")
    parser.add_argument("--print", action="store_true", help="print the numbers of one preset and seed, write nothing")
    arguments = parser.parse_args()
    if arguments.print:
        print(json.dumps(one_seed(arguments.presets[0], arguments.seeds[0])))
        return
    sources = {"this": Path(skdcgn.__file__).parents[1]}
    if arguments.against:
        sources["against"] = arguments.against.resolve()
    for preset in arguments.presets:
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
        for seed in arguments.seeds:
            for name, source in sources.items():
                rows[name].append(one_seed_of(source, preset, seed))
                print(preset, seed, name, {key: round(value, 4) for key, value in rows[name][-1].items()}, flush=True)
        write_json(RESULTS / f"distilling-{preset}.json", record(preset, arguments.seeds, rows))


def record(preset: str, seeds: list[int], rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the record of a preset; ``rows`` are those of each version, a row per seed."""
    summaries = {
        name: {key: to_dict(mean_and_deviation([row[key] for row in own])) for key in own[0]}
        for name, own in rows.items()
    }
    command = ["python benchmarks/distilling.py", preset, "--seeds", *map(str, seeds)]
    return {
        "command": " ".join(command + ["--against OLD/src"] * ("against" in rows)),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "seconds": {**summaries.pop("this"), "runs": rows["this"]},
        **({"against": {**summaries["against"], "runs": rows["against"]}} if summaries else {}),
        "step": step_seconds(preset),
    }


if __name__ == "__main__":
    main()
