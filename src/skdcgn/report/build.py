"""``report.html``: a run folder as one page that can be mailed, opened offline and read on a phone.

Only the run folder is read, so a report can be written again at any time, and the same folder gives the same
bytes. The sentences are made from the numbers, and say so when the student is the worse one.
"""

import base64
import shlex
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skdcgn.base.config import RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, write_bytes
from skdcgn.base.presets import RUNS
from skdcgn.base.records import leaves, to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cgn.pictures import frames_in
from skdcgn.evaluation.scores import Diversity, PixelL1
from skdcgn.report import figures
from skdcgn.report.words import (
    NO_BREAK,
    NOTHING,
    UNKNOWN,
    beside,
    count,
    duration,
    percent,
    reading,
    remark,
    shown,
    small,
    smaller_or_larger,
    times,
    verdict,
)
from skdcgn.results.records import MnistResults, OodAccuracy, RunResults, read_results
from skdcgn.training.run_folder import LogLine, read_metrics

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
PNG = b"\x89PNG\r\n\x1a\n"


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
    results, names = read_results(run, MnistResults), loss_names(run)
    return write_page(
        run,
        "run.html",
        results,
        RunConfig(),
        RUNS,
        reading=reading(results),
        verdict=verdict(results.ood_accuracy),
        rows=rows(results),
        figures=draw_figures(run, results, names),
        legend=names if len(names) > 1 else [],
    )


def write_page(
    run: Path, template: str, results: RunResults, kind: Any, presets: Mapping[str, Any], **values: Any
) -> Path:
    """Write ``run/report.html``: the template with its own ``values``, and with what every run has.

    Args:
        kind: a configuration such as the run's, whose fields say what the settings mean.
        presets: those the run may have begun with.
    """
    embedded, config = pictures(run / "pictures"), read_json(run / "config.json")
    page = (
        templates()
        .get_template(template)
        .render(
            results=results,
            fidelities=fidelities(results),
            pictures=embedded,
            strips=strips(embedded),
            settings=settings(config, kind),
            changed=changed_settings(results.preset, config, presets),
            command=f"skdcgn run {shlex.quote(results.preset)} --seed {results.seed}",
            count=count,
            **values,
        )
    )
    write_bytes(run / "report.html", page.encode())
    return run / "report.html"


def templates() -> Environment:
    """Return the package's templates."""
    return Environment(
        loader=PackageLoader("skdcgn", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# Tables


def rows(results: MnistResults) -> list[Row]:
    """Return the main table."""
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    parameters = {"teacher": count(sizes.teacher) if sizes.teacher else UNKNOWN, "student": count(sizes.student)}
    speed = {"teacher": count(speeds.teacher), "student": count(speeds.student)}
    smaller, faster = ratios(results)
    size_ratio, speed_ratio = {"student": smaller}, {"student": faster}
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
        small(l1.student),
        small(l1.label_mean),
        NOTHING if ratio is None else f"{ratio:.2f}",
        remark(l1, (1 - mechanism.low) / 255),
        small(diversity.teacher),
        small(diversity.student),
    )


def settings(config: dict[str, Any], kind: Any) -> list[tuple[str, str, str]]:
    """Return (name, value, meaning) for every setting of the run."""
    meanings = {leaf.path: leaf.help for leaf in leaves(kind)}
    return [(path, shown(value), meanings.get(path, "")) for path, value in flat(config).items() if path != "digest"]


def changed_settings(preset: str, config: dict[str, Any], presets: Mapping[str, Any]) -> list[str]:
    """Name what differs from the preset, other than the seed; nothing where the preset is not one of ours."""
    if preset not in presets:
        return []
    usual, here = flat(to_dict(presets[preset])), flat(config)
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


def strips(embedded: dict[str, Picture]) -> dict[str, int | None]:
    """Return how many frames each interpolation shows; None where the picture is no strip of ours."""
    shown = {what: embedded.get(f"interpolation_{what}") for what in INTERPOLATED}
    return {what: frames_in(strip.width, strip.height) for what, strip in shown.items() if strip}


def draw_figures(run: Path, results: MnistResults, names: list[str]) -> dict[str, list[Markup]]:
    """Draw every figure whose numbers the run folder holds."""
    drawn: dict[str, list[Markup | None]] = {
        "accuracy": [accuracy_bars(results.ood_accuracy)],
        **common_figures(run, results, names),
        "classifiers": [classifier_curves(run, name, getattr(results.ood_accuracy, name)) for name in NAMES],
    }
    return {name: [figure for figure in several if figure] for name, several in drawn.items()}


def common_figures(run: Path, results: RunResults, names: list[str]) -> dict[str, list[Markup | None]]:
    """Draw what any run has logged: the time of each stage, the losses of each mechanism's student."""
    return {
        "seconds": [seconds_bars(results.seconds)] if results.seconds else [],
        "distillation": [distillation_curves(run, mechanism, names) for mechanism in Mechanism],
    }


def accuracy_bars(scores: OodAccuracy) -> Markup:
    """Draw the out-of-domain accuracies, with the oracle as the line to reach."""
    reached = {name: getattr(scores, name) for name in NAMES}
    bars = [
        figures.Bar(name, score, percent(score), "" if name == "oracle" else beside(score, scores.oracle, "the oracle"))
        for name, score in reached.items()
    ]
    alt = "Bars of out-of-domain accuracy: " + ", ".join(f"{bar.label} {bar.shown}" for bar in bars)
    return figures.bars("accuracy", alt, bars, limit=100, highlight="student", reference=scores.oracle)


def seconds_bars(seconds: dict[str, float]) -> Markup:
    """Draw how long each stage took."""
    whole = max(sum(seconds.values()), 1e-9)
    bars = [
        figures.Bar(stage, value, duration(value), f"{100 * value / whole:.0f}{NO_BREAK}% of the run")
        for stage, value in seconds.items()
    ]
    alt = "Bars of the time per stage: " + ", ".join(f"{bar.label} {bar.shown}" for bar in bars)
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
    return figures.curves(
        f"distill-{mechanism}", f"Distillation losses of the {mechanism}: {ends}", title, ordered, shown=small
    )


def classifier_curves(run: Path, name: str, reached: float) -> Markup | None:
    """Draw one classifier's accuracy on its own training batches above what it reached out of domain."""
    series = by_name(read_metrics(run / "classifiers" / name / "metrics.jsonl"))
    if "accuracy" not in series:
        return None
    last = percent(series["accuracy"][1][-1])
    alt = f"Training accuracy of the {name} classifier: {last} at the end, {percent(reached)} out of domain"
    only = {"accuracy": series["accuracy"]}
    return figures.curves(f"classify-{name}", alt, name, only, shown=percent, limit=103, reference=reached)


def by_name(lines: list[LogLine]) -> figures.Series:
    """Turn a log's lines into one curve of (steps, values) per name."""
    series: figures.Series = {}
    for line in lines:
        for name, value in line.values.items():
            steps, values = series.setdefault(name, ([], []))
            steps.append(line.step)
            values.append(value)
    return series
