"""Studies of students, a row per point: what a loss, a query, a size, a step of the composition policy is worth.

    python benchmarks/students.py composition double-colored-mnist --data-root DIR
    python benchmarks/students.py queries wildlife-mnist --teacher cgn_wildlife_mnist.pth --textures DIR --data-root DIR

Three seeds of everything. Every stage is kept under ``runs/study-NAME`` and an interrupted study goes on there
(:mod:`skdcgn.study`); results land in ``benchmarks/results/STUDY-NAME.json``, and the README's table is printed.
"""

from pathlib import Path
from typing import Any

import commands
from skdcgn.config import RunConfig, override, to_dict
from skdcgn.evaluate import versions
from skdcgn.files import write_json
from skdcgn.mechanism import Mechanism
from skdcgn.presets import run_preset
from skdcgn.study import Point, points, study, summary

RESULTS = Path(__file__).parent / "results"
Changes = dict[str, dict[str, Any]]

PUBLISHED = {"classify.per_shape": 10, "classify.policy": []}

LOSSES: Changes = {
    "pixel": {},
    "pixel + feature": {"distill.feature": 1.0},
    "pixel + KL": {"distill.kl": 1.0},
    "pixel + adversarial": {"distill.adversarial": 0.01},
    "pixel + perceptual": {"distill.perceptual": 1.0},
    "pixel + feature + adversarial": {"distill.feature": 1.0, "distill.adversarial": 0.01},
    "pixel + feature + KL + adversarial": {"distill.feature": 1.0, "distill.kl": 1.0, "distill.adversarial": 0.01},
    "feature": {"distill.pixel": 0.0, "distill.feature": 1.0},
    "feature + KL + adversarial": {
        "distill.pixel": 0.0,
        "distill.feature": 1.0,
        "distill.kl": 1.0,
        "distill.adversarial": 0.01,
    },
}

QUERIES: Changes = {
    f"{count:,}": {f"query.{mechanism}": count for mechanism in Mechanism}
    for count in (100, 300, 1000, 3000, 5000, 10_000, 20_000)
}


def points_of(name: str, base: RunConfig) -> list[Point]:
    """Return the points of a study."""
    both = ("teacher", "student")
    if name == "losses":
        return points(base, LOSSES)
    if name == "queries":
        return points(base, QUERIES)
    if name == "composition":
        steps: Changes = {"published": PUBLISHED, "k = 1": {**PUBLISHED, "classify.per_shape": 1}}
        for i, word in enumerate(base.classify.policy):
            steps[f"+ {word}"] = {"classify.per_shape": 1, "classify.policy": list(base.classify.policy[: i + 1])}
        return points(base, steps, both)
    if name == "main":
        return [
            *points(base, {"published composition": PUBLISHED}, both),
            *points(base, {"default": {}}, ("biased", *both, "oracle")),
        ]
    raise SystemExit(f"no study {name!r}: use losses, queries, composition or main")


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the README's table."""
    lines = [
        "| point | trained on | parameters | out-of-domain accuracy, % | L1 / label mean's, by mechanism |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        reached, l1 = row["ood_accuracy"], row["pixel_l1"]
        shares = ", ".join(f"{l1[m]['student']['mean'] / l1[m]['label_mean']['mean']:.2f}" for m in l1) or "-"
        size = f"{row['parameters']:,}" if row["parameters"] else "-"
        spread = f"{reached['mean']:.1f} ± {reached['deviation']:.1f}"
        lines.append(f"| {row['point']} | {row['source']} | {size} | {spread} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = commands.parser(__doc__, "study", "preset")
    chosen = parser.parse_args()
    name = chosen.name or chosen.preset
    given = {key: getattr(chosen, key) for key in ("teacher", "textures") if getattr(chosen, key)}
    base = override(run_preset(chosen.preset), given)
    scores = []
    what = points_of(chosen.study, base)
    for score in study(what, chosen.runs / f"study-{name}", chosen.seeds, data_root=chosen.data_root, device="cpu"):
        print(score.seed, score.point, score.source, score.ood_accuracy, flush=True)
        scores.append(score)
    rows = summary(scores)
    record = {
        "command": commands.told("students.py", [chosen.study, chosen.preset], chosen),
        "versions": versions(),
        "base": {**to_dict(base), **{key: Path(value).name for key, value in given.items()}},
        "summary": rows,
        "scores": [score._asdict() for score in scores],
    }
    write_json(RESULTS / f"{chosen.study}-{name}.json", record)
    print(markdown(rows))


if __name__ == "__main__":
    main()
