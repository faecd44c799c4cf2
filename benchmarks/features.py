"""Compare the features of the Gram loss: teach a CGN with each, examine its masks, train classifiers on its images.

    python benchmarks/features.py --steps 500 --seeds 0 1 2

``none`` leaves the loss out; ``random`` is the default, fixed random filters; ``classifier`` takes the activations of
the published CNN after an epoch of the same biased pictures, which need no label that the teacher does not have. The
seeds are the classifiers', at the preset's budget; each teacher is taught once, and a run of so few steps ranks
recipes, it does not finish a teacher. Results land in ``benchmarks/results/features.json``.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.files import write_json
from skdcgn.base.presets import DEFAULT, PUBLISHED_TRAINING, run_preset, teach_preset
from skdcgn.base.records import override, to_dict
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.training_sets import MnistData, counterfactual_set
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.teachers.health import check_health, real_reference
from skdcgn.teachers.teach import teach

RESULTS = Path(__file__).parent / "results"


def choices(base: TeachConfig, runs: Path) -> dict[str, TeachConfig]:
    """Return the configuration of each choice; trains the classifier that one of them needs."""
    glyphs = load_glyphs(base.glyphs, "train")
    biased = paint(glyphs, base.appearance, correlated=True, seed=base.seed)
    classify(biased, replace(PUBLISHED_TRAINING, epochs=1), runs / "features-cnn", device="cpu", origin="biased")
    return {
        "none": replace(base, perceptual=0.0),
        "random": base,
        "classifier": replace(base, features=str(runs / "features-cnn")),
    }


def scores(teacher: Teacher, test: LabelledImages, run: RunConfig, seeds: list[int], out: Path) -> list[float]:
    """Return the out-of-domain accuracy of a classifier per seed, trained on the teacher's counterfactuals."""
    percents = []
    for seed in seeds:
        filters = out / f"{seed}-mask-filter"
        data = counterfactual_set(teacher, MnistData.of(run), run.classify, filters, seed=seed, device="cpu")
        percents.append(accuracy(classify(data, run.classify, out / str(seed), seed=seed, device="cpu"), test))
    return percents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    run = run_preset(DEFAULT)
    data = MnistData.of(run)
    test, glyphs = data.test_images(), data.load("train")
    rows: dict[str, dict[str, Any]] = {}
    for name, config in choices(override(teach_preset(DEFAULT), {"steps": arguments.steps}), arguments.runs).items():
        start = time.perf_counter()
        teacher = teach(config, arguments.runs / f"features-{name}", device="cpu", sample_every=arguments.steps)
        seconds = time.perf_counter() - start
        health = check_health(teacher, real_reference(glyphs, teacher.spec.classes, config.seed), config.seed)
        percents = scores(teacher, test, run, arguments.seeds, arguments.runs / f"features-{name}-classifiers")
        rows[name] = {
            "seconds_per_step": seconds / arguments.steps,
            **health._asdict(),
            "ood_accuracy": percents,
            **to_dict(mean_and_deviation(percents)),
        }
        print(name, json.dumps(rows[name]), flush=True)
    command = f"python benchmarks/features.py --steps {arguments.steps} --seeds {' '.join(map(str, arguments.seeds))}"
    write_json(RESULTS / "features.json", {"command": command, "classify": to_dict(run.classify), "rows": rows})


if __name__ == "__main__":
    main()
