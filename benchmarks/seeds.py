"""Run a preset over several seeds; write mean and deviation, and print the main tables of the documentation.

    python benchmarks/seeds.py double-colored-digits --seeds 0 1 2
    python benchmarks/seeds.py double-colored-mnist --seeds 0 --teacher FILE --data-root DIR

Each seed is an ordinary run folder under ``runs/``, so that an interrupted table goes on where it stopped. The
raw results go to ``benchmarks/results/PRESET.json``.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from skdcgn.base.presets import run_preset
from skdcgn.base.records import override, to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.experiments.run_mnist import run_mnist
from skdcgn.results.statistics import mean_and_deviation, with_deviation

RESULTS = Path(__file__).parent / "results"


def numbers(result: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten a results.json to dotted names and numbers."""
    flat: dict[str, float] = {}
    for key, value in result.items():
        if isinstance(value, dict):
            flat |= numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            flat[prefix + key] = value
    return flat


def summarise(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of every number over the seeds, and of each run's ratio of speeds."""
    columns: dict[str, list[float]] = {}
    for result in results:
        speeds = result["counterfactuals_per_second"]
        for name, value in {**numbers(result), "speed_ratio": speeds["student"] / speeds["teacher"]}.items():
            columns.setdefault(name, []).append(value)
    return {name: to_dict(mean_and_deviation(values)) for name, values in columns.items()}


def markdown(summary: dict[str, dict[str, float]]) -> str:
    """Return the README's two tables: accuracy, size and speed; then fidelity and diversity per mechanism."""

    def shown(name: str, form: str) -> str:
        if name not in summary:
            return "-"
        return with_deviation(summary[name]["mean"], summary[name]["deviation"], form)

    lines = [
        "| trained on | parameters | counterfactuals/s | out-of-domain accuracy, % |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in ("biased", "teacher", "student", "oracle"):
        size, speed = shown(f"parameters.{name}", ",.0f"), shown(f"counterfactuals_per_second.{name}", ",.0f")
        lines.append(f"| {name} | {size} | {speed} | {shown(f'ood_accuracy.{name}', '.1f')} |")
    smaller = summary["parameters.teacher"]["mean"] / summary["parameters.student"]["mean"]
    lines += ["", f"The student is {smaller:.1f} times smaller and {shown('speed_ratio', '.1f')} times as fast."]
    lines += ["", "| mechanism | queries | L1, student | L1, label mean | diversity, teacher | diversity, student |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in Mechanism:
        cells = [shown(f"queries.{name}", ",.0f")]
        cells += [shown(f"pixel_l1.{name}.{who}", ".4f") for who in ("student", "label_mean")]
        cells += [shown(f"diversity.{name}.{who}", ".4f") for who in ("teacher", "student")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--teacher")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    results = []
    for seed in arguments.seeds:
        changes = {"seed": seed} | ({"teacher": arguments.teacher} if arguments.teacher else {})
        config = override(run_preset(arguments.preset), changes)
        out = arguments.runs / f"table-{arguments.preset}-{seed}"
        results.append(to_dict(run_mnist(config, out, data_root=arguments.data_root, device="cpu")))
        print(seed, json.dumps(results[-1]["ood_accuracy"]), results[-1]["seconds"], flush=True)
    summary = summarise(results)
    teacher = Path(arguments.teacher).name if arguments.teacher else None
    for result in results:
        result["teacher"]["name"] = teacher or result["teacher"]["name"]  # a path of one machine tells nobody anything
    command = f"python benchmarks/seeds.py {arguments.preset} --seeds {' '.join(map(str, arguments.seeds))}"
    record = {
        "command": command + (f" --teacher {teacher} --data-root DIR" if teacher else ""),
        "machine": f"{platform.machine()}, CPU",
        "with": {key: to_dict(config)[key] for key in ("query", "distill", "classify")},
        "summary": summary,
        "runs": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.preset}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(markdown(summary))


if __name__ == "__main__":
    main()
