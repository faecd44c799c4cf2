"""What a repeated experiment may be expected to reach: the bands of cards and of bundled studies."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.presets import RUNS
from skdcgn.base.records import from_dict, override, to_dict
from skdcgn.results.records import MnistResults
from skdcgn.zoo import cards


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


def table(results: MnistResults, expected: dict[str, Band]) -> list[tuple[str, ...]]:
    """Return the rows of the main table: name, parameters, counterfactuals per second, accuracy, verdict on it."""
    rows: list[tuple[str, ...]] = []
    sizes, speeds = asdict(results.parameters), asdict(results.counterfactuals_per_second)
    for name in ("biased", "teacher", "student", "oracle"):
        size, speed = sizes.get(name), speeds.get(name)
        reached = getattr(results.ood_accuracy, name)
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
