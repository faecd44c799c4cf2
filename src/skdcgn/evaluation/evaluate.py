"""Evaluation: how well a student draws, how fast, and what a classifier learns from it out of domain.

Every number is measured on what no training saw: held-out pairs, decorrelated test images.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch

from skdcgn.base.config import RunConfig, TeachConfig, from_dict, override, to_dict
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json
from skdcgn.base.presets import RUNS
from skdcgn.cgn.compose import compose, draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.metrics.pixels import class_diversity, label_means, paired_l1
from skdcgn.pairs.query import read_pairs
from skdcgn.teachers.load import cards

Name = TypeVar("Name")

SPEED_ROUNDS = 5


def fidelity(
    student: Teacher, pairs: Path, teacher: Teacher | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Compare the student with held-out pairs; return pixel L1 and diversity, by mechanism.

    Pixel L1 stands beside that of the label mean (of the training pairs), which is what a student reaches that
    ignores the noise; diversity is the mean pairwise L1 within a class, of the teacher's answers and the student's.
    ``teacher`` is asked again for images that were not kept.
    """
    l1, diversity = {}, {}
    for mechanism in Mechanism:
        noise, labels, images = read_pairs(pairs / mechanism / "held-out", teacher)
        seen = read_pairs(pairs / mechanism / "train", teacher)
        means = label_means(seen.images, seen.labels, student.spec.classes)
        drawn = draw(student, mechanism, noise, labels)
        l1[mechanism.value] = {
            "student": paired_l1(drawn, images),
            "label_mean": paired_l1(means[labels], images),
        }
        diversity[mechanism.value] = {
            name: float(class_diversity(x, labels, student.spec.classes).nanmean())
            for name, x in (("teacher", images), ("student", drawn))
        }
    return l1, diversity


def counterfactuals_per_second(cgns: dict[str, Teacher], images: int) -> dict[str, float]:
    """Time each CGN in turn, ``SPEED_ROUNDS`` times after a warm-up; return the medians (one texture per shape)."""
    calls = {name: partial(compose, cgn, images) for name, cgn in cgns.items()}
    return {name: images / seconds for name, seconds in median_seconds(calls, SPEED_ROUNDS).items()}


def median_seconds(calls: Mapping[Name, Callable[[], Any]], rounds: int, *, warm_up: int = 1) -> dict[Name, float]:
    """Time each call in turn, ``rounds`` times after ``warm_up`` unmeasured ones; return its median in seconds.

    In turn, so that a machine that slows down slows all of them. A call must return when its work is done.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm_up):
            call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def versions() -> dict[str, str]:
    """Return the versions a result depends on."""
    import platform

    from skdcgn import __version__

    return {
        "skdcgn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


class Kind(StrEnum):
    """What a folder or name that is to be evaluated turns out to be."""

    ENSEMBLE = "an ensemble"
    NATURAL_RUN = "a run on natural images"
    RUN = "a whole run"
    CLASSIFIER = "a classifier"
    CGN = "a CGN"


def kind_of(folder: Path) -> Kind:
    """Say what ``folder`` holds; what is no folder names a CGN. Raise UserError if a folder holds nothing known."""
    told, results = (folder / name for name in ("config.json", "results.json"))
    config = read_json(told) if told.is_file() else {}
    if isinstance(config, dict) and "backbone" in config:
        return Kind.ENSEMBLE
    if results.exists():
        return Kind.NATURAL_RUN if "ensembles" in read_json(results) else Kind.RUN
    if (folder / "checkpoint.safetensors").exists():
        return Kind.CLASSIFIER
    if folder.is_dir() and not (folder / "model.safetensors").exists():
        raise UserError(f"{folder} holds no run, no classifier and no student: name the folder that one was written to")
    return Kind.CGN


@dataclass(frozen=True)
class Band:
    """Where a repeated recipe's accuracy lies, in percent: the 95 % prediction interval of the card's seeds."""

    low: float
    high: float

    def verdict(self, reached: float) -> str:
        """Say whether ``reached`` lies within, to the digit that is printed."""
        inside = round(self.low, 1) <= round(reached, 1) <= round(self.high, 1)
        return f"{'inside' if inside else 'OUTSIDE'} {self.low:.1f}-{self.high:.1f}"


DATA = ("glyphs", "appearance", "textures", "test_copies")


def bands(config: RunConfig, teach: TeachConfig | None = None) -> dict[str, Band]:
    """Return what one may expect of a configuration that was measured, by training set; seed and teacher may be others.

    It stands on the card of the preset's recipe, or among the points of a study. Empty where neither was measured with
    these data and this classifier; without the student where its queries or its distillation were others: no other row
    depends on those. ``teach``: how the teacher is taught for it, where that is not left to the preset.
    """
    preset, card = RUNS.get(config.preset), cards().get(config.preset, {})
    found: dict[str, Band] = {}
    if preset is None:
        return found
    lesson = replace(teach, seed=0) if teach else None
    for record in studied():
        if record["base"]["preset"] != config.preset:
            continue
        base = replace(from_dict(RunConfig, record["base"]), seed=config.seed, teacher=config.teacher)
        for point in record["points"]:
            taught = from_dict(TeachConfig, point["teach"]) if "teach" in point else None
            measured = override(base, point["changes"])
            if taught == lesson and _with_student_of(config, measured) == config:
                found |= _bands(point, student=measured == config)
    given, usual = to_dict(config), to_dict(preset)
    if teach is None and all(given[key] == usual[key] for key in DATA) and "measured_with" in card:
        # fields younger than the card had their defaults
        told = {part: from_dict(type(getattr(config, part)), values) for part, values in card["measured_with"].items()}
        measured = replace(config, **told)
        if _with_student_of(config, measured) == config:
            found |= _bands(card, student=measured == config)
    return found


def _with_student_of(config: RunConfig, measured: RunConfig) -> RunConfig:
    return replace(measured, query=config.query, distill=config.distill)


def _bands(told: dict[str, Any], *, student: bool) -> dict[str, Band]:
    rows = told["out_of_domain_accuracy_percent"].items()
    return {name: Band(numbers["low"], numbers["high"]) for name, numbers in rows if student or name != "student"}


@cache
def studied() -> list[dict[str, Any]]:
    """Return what the bundled studies found (benchmarks/figures.py writes it): base, and changes of each point."""
    kept = resources.files("skdcgn.zoo") / "expected"
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(kept.iterdir(), key=lambda f: f.name)]


def table(results: dict[str, Any], expected: dict[str, Band]) -> list[tuple[str, ...]]:
    """Return the rows of the main table: name, parameters, counterfactuals per second, accuracy, verdict on it."""
    rows: list[tuple[str, ...]] = []
    for name in ("biased", "teacher", "student", "oracle"):
        size, speed = results["parameters"].get(name), results["counterfactuals_per_second"].get(name)
        reached = results["ood_accuracy"][name]
        rows.append(
            (
                name,
                f"{size:,}" if size else ("unknown" if name == "teacher" else "-"),
                f"{speed:,.0f}" if speed else "-",
                f"{reached:.1f} %",
                expected[name].verdict(reached) if name in expected else "-",
            )
        )
    return rows
