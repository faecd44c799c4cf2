"""Studies of students, a row per point: what a loss, a query, a size, a step of the composition policy is worth.

    python benchmarks/students.py composition double-colored-mnist --data-root DIR
    python benchmarks/students.py queries wildlife-mnist --teacher cgn_wildlife_mnist.pth --textures DIR --data-root DIR

Three seeds of everything. Every stage is kept under ``runs/study-NAME`` and an interrupted study goes on there
(:mod:`skdcgn.study`); results land in ``benchmarks/results/STUDY-NAME.json``, and the README's table is printed.
"""

from pathlib import Path
from typing import Any

import commands
from skdcgn.bench import forms, medians
from skdcgn.composer import sample_inputs
from skdcgn.config import RunConfig, override, to_dict
from skdcgn.distiller import student_size
from skdcgn.evaluate import versions
from skdcgn.files import write_json
from skdcgn.mechanism import Mechanism
from skdcgn.presets import run_preset
from skdcgn.seeds import generator
from skdcgn.students.generator import StudentCGN
from skdcgn.study import Point, points, study, summary
from skdcgn.teachers.registry import load_teacher

RESULTS = Path(__file__).parent / "results"
TIMED, ROUNDS = 256, 9
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


Channels = tuple[int, ...]
TINYGAN = (16, 8, 4, 2, 1, 1)  # of conv_dim 1: five blocks, half as wide after each but the last

# Channels of shape, texture and background; side of the initial grid; TinyGAN's separable convolutions.
# fmt: off
LAYOUTS: dict[str, tuple[Channels, Channels, Channels, int, bool]] = {
    "plain, smallest": ((6, 6),      (4, 4),   (4, 4),   4, False),
    "plain, default":  ((10, 10),    (6, 6),   (5, 5),   4, False),
    "plain, larger":   ((16, 16),    (12, 12), (10, 10), 4, False),
    "plain, deeper":   ((12, 12, 8), (8, 8, 6), (6, 6, 6), 4, False),
    **{f"TinyGAN, dim {d}": (*[tuple(d * c for c in TINYGAN)] * 3, 1, True) for d in (2, 4)},
}
# fmt: on


def sizes() -> Changes:
    """Return the sizes of the Pareto picture."""
    return {
        name: {
            f"distill.{mechanism}.{key}": value
            for mechanism, width in zip(Mechanism, (shape, texture, background), strict=True)
            for key, value in (("channels", list(width)), ("grid", grid), ("separable", separable))
        }
        for name, (shape, texture, background, grid, separable) in LAYOUTS.items()
    }


def points_of(name: str, base: RunConfig) -> list[Point]:
    """Return the points of a study."""
    both = ("teacher", "student")
    if name == "losses":
        return points(base, LOSSES)
    if name == "queries":
        return points(base, QUERIES)
    if name == "sizes":
        return points(base, sizes())
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
    raise SystemExit(f"no study {name!r}: use losses, queries, sizes, composition or main")


def rates(what: list[Point]) -> dict[str, dict[str, float]]:
    """Return counterfactuals per second of the teacher and each point's student, of any weights, timed in turn."""
    teacher = load_teacher(what[0].config.teacher)
    drawers = {("teacher", form): draw for form, draw in forms(teacher, ("eager", "channels-last")).items()}
    for point in what:
        size = {m.value: student_size(point.config.distill, m) for m in Mechanism}
        made = forms(StudentCGN(teacher.spec.to_dict(), size), ("eager", "onnx-fp32"))
        drawers |= {(point.name, form): draw for form, draw in made.items()}
    inputs = sample_inputs(teacher.spec, TIMED, generator("bench", TIMED))
    taken = medians(drawers, inputs, ROUNDS)
    told: dict[str, dict[str, float]] = {}
    for (name, form), seconds in taken.items():
        told.setdefault(name, {})[form] = TIMED / seconds
    return told


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
    record: dict[str, Any] = {
        "command": commands.told("students.py", [chosen.study, chosen.preset], chosen),
        "versions": versions(),
        "base": {**to_dict(base), **{key: Path(value).name for key, value in given.items()}},
        "summary": rows,
        "scores": [score._asdict() for score in scores],
    }
    if chosen.study == "sizes":
        record["counterfactuals_per_second"] = rates(what)
    write_json(RESULTS / f"{chosen.study}-{name}.json", record)
    print(markdown(rows))


if __name__ == "__main__":
    main()
