"""Expected accuracies of a repeated experiment: the bands on zoo cards and of the bundled studies."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib import resources

from pydantic.dataclasses import dataclass

from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.door import parse_record
from skdcgn.base.presets import RUNS
from skdcgn.base.records import from_dict, override, to_dict
from skdcgn.results.records import MnistResults
from skdcgn.results.statistics import MeanDeviation, prediction_interval
from skdcgn.results.study_record import Changes, StudyRecord, lay_points
from skdcgn.zoo import cards


@dataclass(frozen=True)
class Band:
    """The 95 % prediction interval of one more seed's accuracy, in percent."""

    low: float
    high: float

    def verdict(self, accuracy: float) -> str:
        """Say whether ``accuracy`` lies within the band, to the printed digit."""
        inside = round(self.low, 1) <= round(accuracy, 1) <= round(self.high, 1)
        return f"{'inside' if inside else 'OUTSIDE'} {self.low:.1f}-{self.high:.1f}"


@dataclass(frozen=True)
class ExpectedAccuracy(Band):
    """A band with the mean and the sample deviation that it comes from."""

    mean: float
    deviation: float


def expected_accuracy(over: MeanDeviation, seeds: int) -> ExpectedAccuracy:
    """Return the band of one more seed after ``seeds``, at least 2, of this mean and deviation."""
    low, high = prediction_interval(over, seeds)
    return ExpectedAccuracy(
        low=round(low, 2), high=round(high, 2), mean=round(over.mean, 2), deviation=round(over.deviation, 2)
    )


@dataclass(frozen=True)
class ExpectedPoint:
    """The changes of a study's point, how its CGN was taught if it was, and the band of each source."""

    name: str
    changes: Changes
    out_of_domain_accuracy_percent: dict[str, ExpectedAccuracy]
    teach: TeachConfig | None = None


@dataclass(frozen=True)
class ExpectedStudy:
    """A study that was measured: its command, the configuration that its points change, and its points."""

    command: str
    base: RunConfig
    points: tuple[ExpectedPoint, ...]


def expected_study(record: StudyRecord) -> ExpectedStudy:
    """Return the bands of a study's points that were measured with more than one seed."""
    rows: dict[str, dict[str, ExpectedAccuracy]] = {}
    for row in record.summary:
        if len(row.seeds) > 1:
            rows.setdefault(row.point, {})[row.source] = expected_accuracy(row.ood_accuracy, len(row.seeds))
    points = zip(record.points, lay_points(record.base, record.points, record.teaching), strict=True)
    return ExpectedStudy(
        record.command,
        record.base,
        tuple(
            ExpectedPoint(point.name, point.changes, rows[point.name], configuration.teach)
            for point, configuration in points
            if point.name in rows
        ),
    )


@cache
def bundled_studies() -> tuple[ExpectedStudy, ...]:
    """Return the studies whose bands the package has."""
    files = sorted((resources.files("skdcgn.zoo") / "expected").iterdir(), key=lambda file: file.name)
    return tuple(parse_record(file.read_text(encoding="utf-8"), ExpectedStudy, file.name) for file in files)


DATA = ("glyphs", "appearance", "textures", "test_copies")


def bands(config: RunConfig, teach: TeachConfig | None = None) -> dict[str, Band]:
    """Return the band of each training set, from the card of the preset and from the bundled studies.

    Seed and teacher may differ from those of the measurement. Empty if nothing was measured with these data and this
    classifier; without ``student`` if its queries or its distillation differ.

    Args:
        teach: how the teacher is taught, if the study teaches it.
    """
    if config.preset not in RUNS:
        return {}
    return _study_bands(config, teach) | ({} if teach else _card_bands(config))


def _study_bands(config: RunConfig, teach: TeachConfig | None) -> dict[str, Band]:
    teaching = replace(teach, seed=0) if teach else None
    of_studies: dict[str, Band] = {}
    for study in bundled_studies():
        if study.base.preset != config.preset:
            continue
        base = replace(study.base, seed=config.seed, teacher=config.teacher)
        for point in study.points:
            if point.teach == teaching:
                measured = override(base, point.changes)
                of_studies |= _bands_that_hold(config, measured, point.out_of_domain_accuracy_percent)
    return of_studies


def _card_bands(config: RunConfig) -> dict[str, Band]:
    card, values, preset = cards().get(config.preset, {}), to_dict(config), to_dict(RUNS[config.preset])
    if "measured_with" not in card or any(values[key] != preset[key] for key in DATA):
        return {}
    # fields that are younger than the card had their defaults
    parts = {name: from_dict(type(getattr(config, name)), part) for name, part in card["measured_with"].items()}
    accuracies = from_dict(dict[str, ExpectedAccuracy], card["out_of_domain_accuracy_percent"], config.preset)
    return _bands_that_hold(config, replace(config, **parts), accuracies)


def _bands_that_hold(
    config: RunConfig, measured: RunConfig, accuracies: Mapping[str, ExpectedAccuracy]
) -> dict[str, Band]:
    """Return the bands of ``measured`` that hold for ``config``: a student's only if both are the same."""
    if replace(measured, query=config.query, distill=config.distill) != config:
        return {}
    return {
        name: Band(one.low, one.high) for name, one in accuracies.items() if measured == config or name != "student"
    }


def table(results: MnistResults, expected: Mapping[str, Band]) -> list[tuple[str, ...]]:
    """Return the rows of the main table: name, parameters, counterfactuals per second, accuracy, verdict on it."""
    sizes, speeds = asdict(results.parameters), asdict(results.counterfactuals_per_second)
    rows: list[tuple[str, ...]] = []
    for name, accuracy in asdict(results.ood_accuracy).items():
        size, speed = sizes.get(name), speeds.get(name)
        rows.append(
            (
                name,
                f"{size:,}" if size else ("unknown" if name == "teacher" else "-"),
                f"{speed:,.0f}" if speed else "-",
                f"{accuracy:.1f} %",
                expected[name].verdict(accuracy) if name in expected else "-",
            )
        )
    return rows
