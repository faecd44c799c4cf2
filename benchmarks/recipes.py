"""Compare training recipes of the small classifier: accuracy and seconds, with the data sets held fixed.

    python benchmarks/recipes.py double-colored-digits STUDENT --seeds 5
    python benchmarks/recipes.py double-colored-mnist STUDENT --seeds 5 --images 100000 --data-root DIR

For each seed the training sets of the oracle and of a student's counterfactuals are made once, and every recipe trains
on both with one thread. A recipe changes the preset's own; seconds are those of training alone. Trained classifiers are
not kept; what was measured is read from the results, so that an interrupted run goes on.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.door import read_json
from skdcgn.base.files import write_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import set_seed
from skdcgn.classifiers.schedules import Epochs, step_decay
from skdcgn.classifiers.small_cnn import Classifier, Classify, accuracy, computes_bf16
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.training_sets import MnistData, training_sets
from skdcgn.results.published import RECIPE
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN
from skdcgn.training.loop import Batch, Method, Step, fit, moving_average

RESULTS = Path(__file__).parent / "results"
SOURCES = ("oracle", "student")


class Smoothed(Classify):
    """A step of cross-entropy with label smoothing (Szegedy et al. 2016)."""

    smoothing = 0.1

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.modules["classifier"].train()(batch["images"]).float()
        loss = F.cross_entropy(logits, batch["labels"], label_smoothing=self.smoothing)
        self.descend("classifier", loss)
        return {"loss": loss.item()}


class Averaged(Classify):
    """Steps whose weights are averaged: mean <- 0.995 mean + 0.005 value."""

    def __init__(self, config: ClassifyConfig, classes: int = 10) -> None:
        super().__init__(config, classes)
        self.average = moving_average(self.modules["classifier"], 0.995)

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        losses = super().step(batch, now)
        self.average.update_parameters(self.modules["classifier"])
        return losses


class Compiled(Classify):
    """Steps of a compiled classifier."""

    def __init__(self, config: ClassifyConfig, classes: int = 10) -> None:
        super().__init__(config, classes)
        self.modules["classifier"].compile()


class Unfused(Classify):
    """Steps of AdamW one tensor after another."""

    def __init__(self, config: ClassifyConfig, classes: int = 10) -> None:
        super().__init__(config, classes)
        rate = self.optimizers["classifier"].param_groups[0]["lr"]
        self.optimizers["classifier"] = torch.optim.AdamW(self.modules["classifier"].parameters(), lr=rate)


# What a recipe changes of the preset's own, and the method that trains.
PUBLISHED = {path.removeprefix("classify."): value for path, value in RECIPE.items()}
SHORT = {"he_init": True, "cooldown": 1.0}
RECIPES: dict[str, tuple[dict[str, Any], Callable[..., Classify]]] = {
    "published": (PUBLISHED, Classify),
    "before: Adadelta, He, falling rate": (PUBLISHED | SHORT, Classify),
    "default: AdamW 4e-3, batches of 32": ({}, Classify),
    "in float32": ({"bf16": False}, Classify),
    "rate 2e-3": ({"learning_rate": 2e-3}, Classify),
    "rate 8e-3": ({"learning_rate": 8e-3}, Classify),
    "batches of 16": ({"batch_size": 16}, Classify),
    "batches of 64": ({"batch_size": 64}, Classify),
    "label smoothing 0.1": ({}, Smoothed),
    "average of weights": ({}, Averaged),
    "AdamW not fused": ({}, Unfused),
    "compiled": ({}, Compiled),
    "half the epochs": ({}, Classify),
}


def configured(budget: ClassifyConfig, name: str) -> ClassifyConfig:
    """Return a preset's budget with the fields that a recipe changes."""
    changes = RECIPES[name][0] | ({"epochs": max(1, budget.epochs // 2)} if name.startswith("half") else {})
    return replace(budget, **changes)


def trained(data: LabelledImages, config: ClassifyConfig, make: Callable[..., Classify], seed: int) -> Classifier:
    """Train a classifier without a run folder; return it, or the average of its weights."""
    set_seed(seed)
    method: Method = make(config, 10)
    epochs = Epochs(len(data.labels), config.batch_size, config.epochs, seed)

    def batch_at(step: int) -> Batch:
        rows = data.rows(epochs.rows(step))
        return {"images": rows.images, "labels": rows.labels}

    schedule = step_decay(config.decay, config.epochs, warmup=config.warmup, cooldown=config.cooldown)
    for _ in fit(method, batch_at, epochs.steps, seed=seed, schedule=schedule):
        pass
    result = method.average.module if isinstance(method, Averaged) else method.modules["classifier"]
    return cast(Classifier, result).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("student", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = run_preset(arguments.preset)
    sizes = {"images": arguments.images, "epochs": arguments.epochs}
    budget = replace(config.classify, **{name: value for name, value in sizes.items() if value})
    out = arguments.out or RESULTS / f"recipes-{arguments.preset}.json"
    runs: list[dict[str, Any]] = read_json(out)["runs"] if out.exists() else []
    done = {(run["recipe"], run["source"], run["seed"]) for run in runs}
    data = MnistData.of(config, arguments.data_root)
    test, cgns = data.test_images(), {"student": StudentCGN.load(arguments.student)}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as filters:
            sets = training_sets(data, cgns, budget, Path(filters), seed=seed)
            for source in SOURCES:
                names = [name for name in arguments.only if (name, source, seed) not in done]
                if not names:
                    continue
                images = sets[source]()
                for name in names:
                    start = time.perf_counter()
                    classifier = trained(images, configured(budget, name), RECIPES[name][1], seed)
                    seconds = time.perf_counter() - start
                    score = round(accuracy(classifier, test), 3)
                    runs.append(
                        {
                            "recipe": name,
                            "source": source,
                            "seed": seed,
                            "accuracy": score,
                            "seconds": round(seconds, 2),
                        }
                    )
                    print(f"seed {seed}, {source}, {name}: {score:.1f} %, {seconds:.0f} s", flush=True)
                    write_json(out, record(arguments, budget, runs))
    for row in summary(runs):
        print(row)


def record(arguments: argparse.Namespace, budget: ClassifyConfig, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return everything that was measured, and with what."""
    return {
        "preset": arguments.preset,
        "budget": to_dict(budget),
        "cpu_has_bfloat16": computes_bf16(),
        "threads": 1,
        "versions": versions(),
        "summary": summary(runs),
        "runs": runs,
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and deviation of each recipe's accuracies, of each source, and its mean seconds."""
    rows = []
    for name in RECIPES:
        for source in SOURCES:
            own = [run for run in runs if (run["recipe"], run["source"]) == (name, source)]
            if own:
                scores = to_dict(mean_and_deviation([run["accuracy"] for run in own]))
                seconds = sum(run["seconds"] for run in own) / len(own)
                rows.append({"recipe": name, "source": source, **scores, "seconds": round(seconds, 1)})
    return rows


if __name__ == "__main__":
    main()
