"""Draw the README's Pareto picture: what a student's size and speed cost in accuracy.

python benchmarks/students.py sizes double-colored-digits
python benchmarks/pareto.py double-colored-digits
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from skdcgn.files import read_json

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "pareto.png"
MARKS = {"plain": ("o", "#1f6f8b"), "TinyGAN": ("s", "#b3541e")}


def front(points: list[tuple[float, float]], *, small: bool) -> list[tuple[float, float]]:
    """Return the points that no other beats in both numbers: more of the second, and less (or more) of the first."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, reverse=not small):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def panel(axes: Any, rows: list[dict[str, Any]], where: dict[str, float], words: str, *, small: bool) -> None:
    for row in rows:
        reached, (mark, colour) = row["ood_accuracy"], MARKS[row["point"].split(",")[0]]
        place = where[row["point"]]
        axes.errorbar(place, reached["mean"], yerr=reached["deviation"], fmt=mark, color=colour, capsize=3)
        axes.annotate(row["point"], (place, reached["mean"]), textcoords="offset points", xytext=(6, 6), fontsize=8)
    best = front([(where[row["point"]], row["ood_accuracy"]["mean"]) for row in rows], small=small)
    axes.plot(*zip(*best, strict=True), color="#999999", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the study of sizes")
    chosen = parser.parse_args()
    record = read_json(RESULTS / f"sizes-{chosen.name}.json")
    rows, rates = record["summary"], record["counterfactuals_per_second"]
    slow = rates["teacher"]["eager"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    panel(
        left, rows, {row["point"]: row["parameters"] for row in rows}, "parameters of the three mechanisms", small=True
    )
    fast = {name: told["onnx-fp32"] / slow for name, told in rates.items() if name != "teacher"}
    panel(right, rows, fast, "counterfactuals per second (ONNX Runtime), times the teacher's eager rate", small=False)
    left.set_ylabel("out-of-domain accuracy, %")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=130)


if __name__ == "__main__":
    main()
