"""How many queries the stop rule spends, and which accuracy they reach.

    python benchmarks/enough.py --runs runs/enough --enough 0.002 --seeds 0 1 2

Of each preset on MNIST: the preset's queries, of which ``--enough`` leaves out those that cannot gain more. First all
queries are sent, then students are distilled and classifiers trained; a command that was stopped goes on where it
stopped. Looks, queries and accuracies go to ``benchmarks/results/queries-enough.json``.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from commands import command_line
from skdcgn.base.config import RunConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.experiments.stages import Workspace
from skdcgn.experiments.studies import MNIST
from skdcgn.experiments.study import measure_points, pairs_folder
from skdcgn.pairs.manifest import TRAIN, read_manifest
from skdcgn.results.study_record import PointConfig
from skdcgn.results.versions import versions
from skdcgn.students.asking import ask
from skdcgn.students.enough import read_looks
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results" / "queries-enough.json"


def query(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Send the queries of a run; return their numbers and the looks of each mechanism."""
    teacher = load_teacher(config.teacher)
    pairs = pairs_folder(teacher, config, workspace)
    ask(teacher, pairs, config.query, seed=config.seed, watch=workspace.watch)
    answers = {one.value: read_manifest(pairs / one / TRAIN).count for one in Mechanism}
    print(f"{config.preset}, seed {config.seed}: {answers}", flush=True)
    return {
        "preset": config.preset,
        "seed": config.seed,
        "answers": answers,
        "looks": {one.value: to_dict(read_looks(pairs / one / "looks.json")) for one in Mechanism},
        "ood_accuracy": None,
    }


def accuracy(config: RunConfig, workspace: Workspace) -> float | None:
    """Return the out-of-domain accuracy, in percent, of a classifier on the student of a run's pairs."""
    results = workspace.folder / f"results-{config.seed}.jsonl"
    (score,) = measure_points([PointConfig("enough", config)], workspace, [config.seed], results=results)
    return score.ood_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enough", type=float, default=0.002)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/enough"))
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    presets = {name: run_preset(name) for name in MNIST}
    jobs = [
        (
            replace(config, seed=seed, query=replace(config.query, enough=arguments.enough)),
            Workspace(arguments.runs / name, arguments.data_root),
        )
        for seed in arguments.seeds
        for name, config in presets.items()
    ]
    record = {
        "command": command_line("enough.py", [f"--enough {arguments.enough}"], arguments),
        "versions": to_dict(versions()),
        "enough": arguments.enough,
        "runs": [query(*job) for job in jobs],
    }
    write_json(RESULTS, record)
    for row, job in zip(record["runs"], jobs, strict=True):
        row["ood_accuracy"] = accuracy(*job)
        write_json(RESULTS, record)
        print(f"{row['preset']}, seed {row['seed']}: {row['answers']}, {row['ood_accuracy']} %", flush=True)


if __name__ == "__main__":
    main()
