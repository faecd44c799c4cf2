"""Measure a teacher as its users do, and compare it with the published checkpoint and the oracle.

    python benchmarks/teachers.py double-colored-mnist --published cgn_double_colored_mnist.pth --data-root DIR
    python benchmarks/teachers.py wildlife-mnist --name wildlife-mnist-photographs --textures DIR \
        --teacher runs/teach-photographs/teacher.safetensors --published cgn_wildlife_mnist.pth --data-root DIR

One training set of each kind, as many images as the preset's, composed as published; a classifier per seed on each;
every classifier an ordinary run folder, so that an interrupted table goes on where it stopped. Of each teacher: its
health (see skdcgn.teachers.health), how well its binarised masks overlap with the nearest real glyph of their class,
and how well a classifier of one mechanism alone recognises its own label, in colour, and real glyphs, in grey and
standardised, which only a mechanism that draws shapes can teach. Raw results land in
``benchmarks/results/teachers-NAME.json``.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import commands
from skdcgn.base.config import RunConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import PUBLISHED_TRAINING, run_preset
from skdcgn.base.records import override, to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.training_sets import MnistData, train_and_test, training_sets
from skdcgn.metrics.pixels import nearest_iou
from skdcgn.results.published import PUBLISHED, RECIPE
from skdcgn.results.statistics import mean_and_deviation, with_deviation
from skdcgn.results.versions import versions
from skdcgn.teachers.health import check_health, real_reference
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results"
PROBE = replace(PUBLISHED_TRAINING, images=10_000, epochs=1)
PROBE_TEST = 2000


def accuracies(
    config: RunConfig, cgns: dict[str, Teacher], seeds: list[int], data_root: Path | None, runs: Path
) -> dict[str, list[float]]:
    """Return out-of-domain accuracies in percent by training set, one per seed of the classifier."""
    data, budget = MnistData.of(config, data_root), config.classify
    test = data.test_images()
    percents: dict[str, list[float]] = {}
    sets = training_sets(data, cgns, budget, runs / "mask-filters", seed=config.seed, device="cpu")
    for name, make in sets.items():
        make_once = cache(make)  # all seeds share one set, which is only made if a seed needs training
        origin = {"data": name, "teacher": cgns[name].digest if name in cgns else ""}
        percents[name] = [
            train_and_test(make_once, test, budget, runs / f"{name}-{seed}", origin=origin, seed=seed, device="cpu")
            for seed in seeds
        ]
        print(name, percents[name], flush=True)
    return percents


def quality(teacher: Teacher, train: LabelledImages, test: LabelledImages, runs: Path) -> dict[str, Any]:
    """Return health, overlap with real glyphs, and the leakage of each mechanism."""
    health = check_health(teacher, real_reference(train, teacher.spec.classes, 0), seed=0)
    labels = torch.arange(teacher.spec.classes).repeat(40)
    masks = draw(teacher, Mechanism.SHAPE, teacher.spec.sample_noise(len(labels), generator("iou")), labels)
    return {
        "parameters": teacher.size,
        "digest": teacher.digest,
        "health": health._asdict(),
        "iou": nearest_iou((masks > 0.5).float(), labels, train.images, train.labels),
        "iou_of_real_held_out_glyphs": nearest_iou(test.images[:1000], test.labels[:1000], train.images, train.labels),
        "leakage": {m.value: leakage(teacher, m, test, runs / m) for m in Mechanism},
    }


def leakage(teacher: Teacher, mechanism: Mechanism, glyphs: LabelledImages, runs: Path) -> dict[str, float]:
    """Train on one mechanism alone; return how often its own label and how often real glyphs are recognised."""

    def sample(count: int) -> tuple[Tensor, Tensor]:
        rng = generator("leakage", mechanism, count)
        labels = torch.randint(teacher.spec.classes, (count,), generator=rng)
        return draw(teacher, mechanism, teacher.spec.sample_noise(count, rng), labels).expand(-1, 3, -1, -1), labels

    (images, labels), held_out = sample(PROBE.images), sample(PROBE_TEST)
    in_colour = classify(LabelledImages(images, labels), PROBE, runs / "own", device="cpu", origin=teacher.digest)
    in_grey = classify(
        LabelledImages(grey(images), labels), PROBE, runs / "glyphs", device="cpu", origin=teacher.digest
    )
    return {
        "own_label": accuracy(in_colour, LabelledImages(*held_out)),
        "real_glyphs": accuracy(in_grey, LabelledImages(grey(glyphs.images.expand(-1, 3, -1, -1)), glyphs.labels)),
    }


def grey(images: Tensor) -> Tensor:
    """Take colour, brightness and contrast away: (N, 3, H, W) of mean 0 and deviation 1, three times the same."""
    mean = images.mean(1, keepdim=True)
    centred = mean - mean.mean((2, 3), keepdim=True)
    return (centred / centred.std((2, 3), keepdim=True).clamp(min=1e-2)).expand(-1, 3, -1, -1)


def markdown(percents: dict[str, list[float]], quality: dict[str, dict[str, Any]]) -> str:
    """Return a row of the README's table per training set."""
    lines = []
    for name, values in percents.items():
        over = mean_and_deviation(values)
        line = f"| {name} | {with_deviation(over.mean, over.deviation)} |"
        if name in quality:
            measures = quality[name]
            read = " / ".join(f"{measures['leakage'][m]['real_glyphs']:.0f}" for m in Mechanism)
            line += f" {measures['iou']:.2f} ({measures['iou_of_real_held_out_glyphs']:.2f}) |"
            line += (
                f" {measures['health']['diversity']:.2f} | {100 * measures['health']['class_accuracy']:.0f} | {read} |"
            )
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = commands.parser(__doc__, "preset")
    parser.add_argument("--published", type=Path)
    arguments = parser.parse_args()
    name = arguments.name or arguments.preset
    textures = {"textures": arguments.textures} if arguments.textures else {}
    config = override(run_preset(arguments.preset), {**PUBLISHED, **RECIPE, **textures})
    cgns = {"teacher": load_teacher(arguments.teacher or config.teacher)}
    if arguments.published:
        cgns["published"] = load_teacher(arguments.published)
    runs = arguments.runs / f"teachers-{name}"
    percents = accuracies(config, cgns, arguments.seeds, arguments.data_root, runs)
    train, test = (load_glyphs(config.glyphs, split, arguments.data_root) for split in ("train", "test"))
    qualities = {who: quality(cgn, train, test, runs / f"probe-{who}") for who, cgn in cgns.items()}
    record = {
        "command": commands.command_line("teachers.py", [arguments.preset], arguments),
        "with": {"classify": to_dict(config.classify)},
        "versions": versions(),
        "summary": {f"ood_accuracy.{who}": to_dict(mean_and_deviation(values)) for who, values in percents.items()},
        "runs": [
            {
                "seed": seed,
                "ood_accuracy": {who: values[i] for who, values in percents.items()},
                "teacher": {"digest": cgns["teacher"].digest},
            }
            for i, seed in enumerate(arguments.seeds)
        ],
        "teachers": qualities,
    }
    write_json(RESULTS / f"teachers-{name}.json", record)
    print(json.dumps(record["summary"], indent=2))
    print(markdown(percents, qualities))


if __name__ == "__main__":
    main()
