"""Time a student of each preset: its queries, its distillation, and a step of it under each loss, in turn.

    python benchmarks/distilling.py

Nothing else should run meanwhile. Students are thrown away; ``benchmarks/results/distilling-PRESET.json`` keeps the
seconds.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from skdcgn.base.config import DistillConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import RUNS, run_preset
from skdcgn.base.records import override, to_dict
from skdcgn.cgn.drawings import class_columns
from skdcgn.cgn.mechanism import Mechanism, Spec
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


def seconds(preset: str, seed: int) -> dict[str, float]:
    """Return how long the queries and the distillation of one seed took, one after the other."""
    config = run_preset(preset)
    teacher = load_teacher(config.teacher)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        query_all(teacher, Path(folder) / "pairs", config.query, seed=seed)
        queried = time.perf_counter()
        distill(Path(folder) / "pairs", Path(folder) / "run", config.distill, seed=seed, device="cpu")
        return {"query": queried - started, "distill": time.perf_counter() - queried}


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
    arguments = parser.parse_args()
    for preset in arguments.presets:
        rows = [seconds(preset, seed) for seed in arguments.seeds]
        seconds_of_stage = {stage: mean_and_deviation([row[stage] for row in rows]) for stage in rows[0]}
        print(preset, {stage: round(summary.mean, 1) for stage, summary in seconds_of_stage.items()}, flush=True)
        record = {
            "command": " ".join(["python benchmarks/distilling.py", preset, "--seeds", *map(str, arguments.seeds)]),
            "versions": versions(),
            "seconds": {**{stage: to_dict(summary) for stage, summary in seconds_of_stage.items()}, "runs": rows},
            "step": step_seconds(preset),
        }
        write_json(RESULTS / f"distilling-{preset}.json", record)


if __name__ == "__main__":
    main()
