"""Tables of a run's report: sizes, speeds and accuracies; fidelity; settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from skdcgn.base.records import leaves, settings_of, to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.scores import Diversity, PixelL1
from skdcgn.report.words import NOTHING, UNKNOWN, count, decimal, percent, remark, setting, smaller_or_larger, times
from skdcgn.results.records import MnistResults, RunResults

MEANING = {
    "biased": "the training images as they are: the appearance gives the class away",
    "teacher": "counterfactuals composed from the teacher's mechanisms",
    "student": "counterfactuals composed from the distilled student's mechanisms",
    "oracle": "real images whose appearance was drawn independently of the class: the ceiling",
}


class Row(NamedTuple):
    """One line of the main table; the ratios compare the student with its teacher and are empty elsewhere."""

    name: str
    meaning: str
    parameters: str
    size_ratio: str
    speed: str
    speed_ratio: str
    accuracy: str


class Fidelity(NamedTuple):
    """One line of the fidelity table."""

    mechanism: str
    queries: str
    student: str
    label_mean: str
    ratio: str
    warning: str
    teacher_diversity: str
    student_diversity: str


def rows(results: MnistResults) -> list[Row]:
    """Return the main table."""
    sizes, speeds, accuracies = results.parameters, results.counterfactuals_per_second, to_dict(results.ood_accuracy)
    parameters = {"teacher": count(sizes.teacher) if sizes.teacher else UNKNOWN, "student": count(sizes.student)}
    speed = {"teacher": count(speeds.teacher), "student": count(speeds.student)}
    smaller, faster = ratios(results)
    size_ratio, speed_ratio = {"student": smaller}, {"student": faster}
    return [
        Row(
            name,
            meaning,
            parameters.get(name, NOTHING),
            size_ratio.get(name, ""),
            speed.get(name, NOTHING),
            speed_ratio.get(name, ""),
            percent(accuracies[name]),
        )
        for name, meaning in MEANING.items()
    ]


def ratios(results: RunResults) -> tuple[str, str]:
    """Say how much smaller and how much faster than its teacher a student is; nothing of an unknown size."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    smaller = smaller_or_larger(sizes.teacher / sizes.student) if sizes.teacher else ""
    return smaller, f"{times(speeds.student / speeds.teacher)} the teacher's"


def fidelities(results: RunResults) -> list[Fidelity]:
    """Return the fidelity table, one line per measured mechanism."""
    return [
        fidelity(mechanism, results.pixel_l1[mechanism], results)
        for mechanism in Mechanism
        if mechanism in results.pixel_l1
    ]


def fidelity(mechanism: Mechanism, l1: PixelL1, results: RunResults) -> Fidelity:
    """Return one line of the fidelity table; there is no ratio to a label mean that makes no error."""
    ratio = l1.student / l1.label_mean if l1.label_mean else None
    diversity = results.diversity.get(mechanism, Diversity(None, None))
    return Fidelity(
        mechanism.value,
        count(results.queries[mechanism]) if mechanism in results.queries else NOTHING,
        decimal(l1.student),
        decimal(l1.label_mean),
        NOTHING if ratio is None else f"{ratio:.2f}",
        remark(l1, (1 - mechanism.low) / 255),
        decimal(diversity.teacher),
        decimal(diversity.student),
    )


def settings(config: dict[str, Any], kind: Any) -> list[tuple[str, str, str]]:
    """Return (name, value, meaning) for every setting of the run; ``kind`` is a configuration such as the run's."""
    meanings = {leaf.path: leaf.help for leaf in leaves(kind)}
    values = flat(settings_of(config))
    return [(path, setting(value), meanings.get(path, "")) for path, value in values.items()]


def changed_settings(preset: str, config: dict[str, Any], presets: Mapping[str, Any]) -> list[str]:
    """Name what differs from the preset, other than the seed; nothing where the preset is not one of ours."""
    if preset not in presets:
        return []
    usual, own = flat(to_dict(presets[preset])), flat(config)
    changed = [path for path in usual if path in own and own[path] != usual[path] and path != "seed"]
    return [f"{path} = {setting(own[path])}" for path in changed]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested values dotted names."""
    paths: dict[str, Any] = {}
    for name, value in values.items():
        paths |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return paths
