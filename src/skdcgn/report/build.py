"""``report.html``: a run folder as one page that can be mailed, opened offline and read on a phone.

Only the run folder is read, so a report can be written again at any time, and the same folder gives the same
bytes. The sentences are made from the numbers, and say so when the student is the worse one.
"""

import base64
import shlex
import struct
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import FiniteFloat, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from skdcgn.config import RunConfig, leaves, to_dict
from skdcgn.errors import UserError
from skdcgn.files import read_json, write_bytes
from skdcgn.mechanism import Mechanism
from skdcgn.presets import RUNS
from skdcgn.report import figures
from skdcgn.train import read_metrics

MEANING = {
    "biased": "the training images as they are: the appearance gives the class away",
    "teacher": "counterfactuals composed from the teacher's mechanisms",
    "student": "counterfactuals composed from the distilled student's mechanisms",
    "oracle": "real images whose appearance was drawn independently of the class: the ceiling",
}
NAMES = tuple(MEANING)
DRAWN = tuple(mechanism.value for mechanism in Mechanism)
INTERPOLATED = (*DRAWN, "all")
COMPOSED = ("counterfactuals_teacher", "counterfactuals_student")
PICTURES = (*DRAWN, *COMPOSED, "data", *(f"interpolation_{what}" for what in INTERPOLATED))
COARSE, AVERAGE = 0.5, 1.0
UNKNOWN, NOTHING = "unknown", "\N{EN DASH}"
TIMES, NO_BREAK = "\N{MULTIPLICATION SIGN}", "\N{NO-BREAK SPACE}"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Scores:
    """Out-of-domain accuracy in percent, by what the classifier was trained on."""

    biased: FiniteFloat
    teacher: FiniteFloat
    student: FiniteFloat
    oracle: FiniteFloat


@dataclass(frozen=True)
class Sizes:
    """How many numbers each CGN holds; None where nobody can know."""

    teacher: PositiveInt | None
    student: PositiveInt


@dataclass(frozen=True)
class Speeds:
    """Counterfactuals per second."""

    teacher: PositiveFloat
    student: PositiveFloat


@dataclass(frozen=True)
class PixelL1:
    """L1 to held-out answers of the teacher: of the student, and of the mean image of each class."""

    student: FiniteFloat
    label_mean: FiniteFloat


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise L1 within a class; None where no class has two images."""

    teacher: FiniteFloat | None
    student: FiniteFloat | None


@dataclass(frozen=True)
class Origin:
    """Which teacher answered."""

    name: str | None
    digest: str


@dataclass(frozen=True)
class Budget:
    """What every classifier was trained with."""

    images: int
    per_shape: int
    epochs: int


@dataclass(frozen=True)
class Results:
    """``results.json`` as the pipeline writes it."""

    preset: str
    seed: int
    digest: str
    ood_accuracy: Scores
    parameters: Sizes
    counterfactuals_per_second: Speeds
    queries: dict[str, int]
    held_out_queries: int
    pixel_l1: dict[str, PixelL1]
    diversity: dict[str, Diversity]
    teacher: Origin
    classifier_budget: Budget
    test_images: int
    seconds: dict[str, FiniteFloat]
    versions: dict[str, str]


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


class Picture(NamedTuple):
    """A PNG as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; return its path."""
    results, config = read_results(run), read_json(run / "config.json")
    embedded, names = pictures(run / "pictures"), loss_names(run)
    environment = Environment(
        loader=PackageLoader("skdcgn", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("template.html").render(
        results=results,
        reading=reading(results),
        verdict=verdict(results.ood_accuracy),
        rows=rows(results),
        fidelities=fidelities(results),
        pictures=embedded,
        strips=[what for what in INTERPOLATED if f"interpolation_{what}" in embedded],
        figures=draw_figures(run, results, names),
        legend=names if len(names) > 1 else [],
        settings=settings(config),
        changed=changed_settings(results.preset, config),
        command=f"skdcgn run {shlex.quote(results.preset)} --seed {results.seed}",
        count=count,
    )
    write_bytes(run / "report.html", page.encode())
    return run / "report.html"


def read_results(run: Path) -> Results:
    """Read ``results.json``; raise UserError that names the mend if it is missing, damaged or incomplete."""
    path = run / "results.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist: finish the run by repeating its command (skdcgn run ... --out {run})")
    try:
        return TypeAdapter(Results).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {key}: {first['msg'].lower()}: delete the file and repeat the run") from None


# Sentences


def reading(results: Results) -> Markup:
    """Say in one sentence what the run found, its one number emphasised."""
    size, smaller = size_phrase(results.parameters)
    speed, faster = speed_phrase(results.counterfactuals_per_second)
    scores = results.ood_accuracy
    return Markup(
        "With {} {} {}, the student leads to a classifier that is right on <strong>{}</strong> of out-of-domain images;"
        " its teacher leads to {}, biased training data to {}, and the oracle to {}."
    ).format(
        size,
        "and" if smaller == faster else "but",
        speed,
        *(percent(score) for score in (scores.student, scores.teacher, scores.biased, scores.oracle)),
    )


def size_phrase(sizes: Sizes) -> tuple[str, bool]:
    """Compare the student's size with its teacher's; also return whether that is to the student's credit."""
    if sizes.teacher is None:
        return f"{count(sizes.student)} parameters (its teacher's size is unknown)", True
    ratio = sizes.teacher / sizes.student
    if same(ratio):
        return "about as many parameters as its teacher", True
    if ratio > 1:
        return f"{times(ratio)} fewer parameters than its teacher", True
    return f"{times(1 / ratio)} as many parameters as its teacher", False


def speed_phrase(speeds: Speeds) -> tuple[str, bool]:
    """Compare the student's speed with its teacher's; also return whether that is to the student's credit."""
    ratio = speeds.student / speeds.teacher
    if same(ratio):
        return "about the same speed", True
    return f"{'' if ratio > 1 else 'only '}{times(ratio)} the speed", ratio > 1


def same(ratio: float) -> bool:
    """Whether two numbers of this ratio differ by less than a twentieth."""
    return 0.95 < ratio < 1.05


def verdict(scores: Scores) -> str:
    """Say whether the counterfactuals helped, as far as the printed digits can tell."""
    gain = round(scores.student, 1) - round(scores.biased, 1)
    teacher_gain = round(scores.teacher, 1) - round(scores.biased, 1)
    if gain <= 0:
        others = "neither did the teacher's" if teacher_gain <= 0 else f"the teacher's added {points(teacher_gain)}"
        return f"The student's counterfactuals did not help over biased data here; {others}."
    if teacher_gain <= 0:
        return f"The student gains {points(gain)} over biased data, although its teacher gains nothing."
    if gain < teacher_gain:
        return f"Of the {points(teacher_gain)} that its teacher gains over biased data, the student keeps {gain:.1f}."
    ahead = f"{points(gain - teacher_gain)} more than" if gain > teacher_gain else "as much as"
    return f"The student gains {points(gain)} over biased data, {ahead} its teacher."


def remark(ratio: float) -> str:
    """Warn about a student whose error comes near that of the class averages."""
    if ratio >= AVERAGE:
        return "draws little more than class averages"
    return "coarse" if ratio > COARSE else ""


# Tables


def rows(results: Results) -> list[Row]:
    """Return the main table."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    parameters = {"teacher": count(sizes.teacher) if sizes.teacher else UNKNOWN, "student": count(sizes.student)}
    size_ratio = {"student": smaller_or_larger(sizes.teacher / sizes.student)} if sizes.teacher else {}
    speed = {"teacher": count(speeds.teacher), "student": count(speeds.student)}
    speed_ratio = {"student": f"{times(speeds.student / speeds.teacher)} the teacher's"}
    return [
        Row(
            name,
            MEANING[name],
            parameters.get(name, NOTHING),
            size_ratio.get(name, ""),
            speed.get(name, NOTHING),
            speed_ratio.get(name, ""),
            percent(getattr(results.ood_accuracy, name)),
        )
        for name in NAMES
    ]


def smaller_or_larger(ratio: float) -> str:
    """Name the size of a student by the ratio teacher / student."""
    return f"{times(ratio)} smaller" if ratio >= 1 else f"{times(1 / ratio)} larger"


def fidelities(results: Results) -> list[Fidelity]:
    """Return the fidelity table, one line per measured mechanism."""
    return [
        fidelity(mechanism.value, results.pixel_l1[mechanism], results)
        for mechanism in Mechanism
        if mechanism in results.pixel_l1
    ]


def fidelity(mechanism: str, l1: PixelL1, results: Results) -> Fidelity:
    """Return one line of the fidelity table; there is no ratio to a label mean that makes no error."""
    ratio = l1.student / l1.label_mean if l1.label_mean else None
    diversity = results.diversity.get(mechanism, Diversity(None, None))
    return Fidelity(
        mechanism,
        count(results.queries[mechanism]) if mechanism in results.queries else NOTHING,
        small(l1.student),
        small(l1.label_mean),
        NOTHING if ratio is None else f"{ratio:.2f}",
        "" if ratio is None else remark(ratio),
        small(diversity.teacher),
        small(diversity.student),
    )


def settings(config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, value, meaning) for every setting of the run."""
    meanings = {path: part.metadata["help"] for path, part in leaves(RunConfig)}
    return [(path, shown(value), meanings.get(path, "")) for path, value in flat(config).items() if path != "digest"]


def changed_settings(preset: str, config: dict[str, Any]) -> list[str]:
    """Name what differs from the preset, other than the seed; nothing where the preset is not one of ours."""
    if preset not in RUNS:
        return []
    usual, here = flat(to_dict(RUNS[preset])), flat(config)
    return [
        f"{path} = {shown(here[path])}"
        for path in usual
        if path in here and here[path] != usual[path] and path != "seed"
    ]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested values dotted names."""
    paths: dict[str, Any] = {}
    for name, value in values.items():
        paths |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return paths


# Pictures and figures


def pictures(folder: Path) -> dict[str, Picture]:
    """Read those pictures of the report that are there."""
    paths = {name: folder / f"{name}.png" for name in PICTURES}
    return {name: picture(path) for name, path in paths.items() if path.is_file()}


def picture(path: Path) -> Picture:
    """Read a PNG; raise UserError if it is something else."""
    data = path.read_bytes()
    if not data.startswith(PNG) or len(data) < 24:
        raise UserError(f"{path} is not a PNG: restore it, or delete it and the report leaves it out")
    width, height = struct.unpack(">II", data[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(data).decode()}", width, height)


def draw_figures(run: Path, results: Results, names: list[str]) -> dict[str, list[Markup]]:
    """Draw every figure whose numbers the run folder holds."""
    drawn: dict[str, list[Markup | None]] = {
        "accuracy": [accuracy_bars(results.ood_accuracy)],
        "seconds": [seconds_bars(results.seconds)] if results.seconds else [],
        "distillation": [distillation_curves(run, mechanism, names) for mechanism in Mechanism],
        "classifiers": [classifier_curves(run, name, getattr(results.ood_accuracy, name)) for name in NAMES],
    }
    return {name: [figure for figure in several if figure] for name, several in drawn.items()}


def accuracy_bars(scores: Scores) -> Markup:
    """Draw the out-of-domain accuracies, with the oracle as the line to reach."""
    bars = [(name, getattr(scores, name), percent(getattr(scores, name))) for name in NAMES]
    alt = "Bars of out-of-domain accuracy: " + ", ".join(f"{name} {shown}" for name, _, shown in bars)
    return figures.bars("accuracy", alt, bars, limit=100, highlight="student", reference=scores.oracle)


def seconds_bars(seconds: dict[str, float]) -> Markup:
    """Draw how long each stage took."""
    bars = [(stage, value, duration(value)) for stage, value in seconds.items()]
    alt = "Bars of the time per stage: " + ", ".join(f"{stage} {shown}" for stage, _, shown in bars)
    return figures.bars("seconds", alt, bars, limit=max(*seconds.values(), 1e-9))


def loss_names(run: Path) -> list[str]:
    """Name every distillation loss that any mechanism logged, in the order of their colours."""
    return list(dict.fromkeys(name for mechanism in Mechanism for name in distillation_losses(run, mechanism)))


def distillation_losses(run: Path, mechanism: str) -> figures.Series:
    return by_name(read_metrics(run / "students" / mechanism / "metrics.jsonl"))


def distillation_curves(run: Path, mechanism: str, names: list[str]) -> Markup | None:
    """Draw the losses of one mechanism's student, coloured by their place in ``names``; None if none were logged."""
    series = distillation_losses(run, mechanism)
    if not series:
        return None
    ends = ", ".join(f"{name} from {small(values[0])} to {small(values[-1])}" for name, (_, values) in series.items())
    title = f"{mechanism}: {names[0]}" if len(names) == 1 else mechanism
    ordered = {name: series.get(name, ([], [])) for name in names}
    return figures.curves(f"distill-{mechanism}", f"Distillation losses of the {mechanism}: {ends}", title, ordered)


def classifier_curves(run: Path, name: str, reached: float) -> Markup | None:
    """Draw one classifier's accuracy on its own training batches above what it reached out of domain."""
    series = by_name(read_metrics(run / "classifiers" / name / "metrics.jsonl"))
    if "accuracy" not in series:
        return None
    last = percent(series["accuracy"][1][-1])
    alt = f"Training accuracy of the {name} classifier: {last} at the end, {percent(reached)} out of domain"
    only = {"accuracy": series["accuracy"]}
    return figures.curves(f"classify-{name}", alt, name, only, limit=103, reference=reached)


def by_name(records: list[dict[str, float]]) -> figures.Series:
    """Turn a log's lines into one curve of (steps, values) per name."""
    series: figures.Series = {}
    for record in records:
        for name, value in record.items():
            if name != "step":
                steps, values = series.setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(value)
    return series


# Numbers as they are printed


def percent(value: float) -> str:
    return f"{value:.1f}{NO_BREAK}%"


def count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def times(ratio: float) -> str:
    return (
        f"{ratio:,.0f}{TIMES}" if ratio >= 9.95 else f"{ratio:.1f}{TIMES}" if ratio >= 0.95 else f"{ratio:.2g}{TIMES}"
    )


def small(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def points(value: float) -> str:
    return f"{value:.1f} points"


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def shown(value: Any) -> str:
    """Print a setting."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else str(value)
