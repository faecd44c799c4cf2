"""Figures of a run's report, from its results and the logs in its folder, each with its legend."""

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.report.plots import Bar, Key, Series, bars, curves, line_keys
from skdcgn.report.words import NO_BREAK, compared_with, decimal, duration, percent
from skdcgn.results.records import MnistResults, OodAccuracy, RunResults
from skdcgn.training.run_folder import LogLine, read_metrics


class Figure(NamedTuple):
    """Panels with one legend; without panels, where nothing was logged, it is left out."""

    panels: list[Markup]
    legend: list[Key]


def run_figures(run: Path, results: RunResults) -> dict[str, Figure]:
    """Draw the figures of any run: the time of each stage, the losses of each mechanism's student."""
    return {"seconds": seconds_figure(results.seconds), "distillation": distillation_figure(run)}


def mnist_figures(run: Path, results: MnistResults) -> dict[str, Figure]:
    """Draw the figures of a run on MNIST or digits, those of its classifiers included."""
    return {
        "accuracy": accuracy_figure(results.ood_accuracy),
        **run_figures(run, results),
        "classifiers": classifiers_figure(run, results.ood_accuracy),
    }


def accuracy_figure(scores: OodAccuracy) -> Figure:
    """Draw the out-of-domain accuracies, with the oracle's accuracy as a line."""
    rows = [
        Bar(name, score, percent(score), "" if name == "oracle" else compared_with(score, scores.oracle, "the oracle"))
        for name, score in to_dict(scores).items()
    ]
    alt = "Bars of out-of-domain accuracy: " + ", ".join(f"{row.label} {row.text}" for row in rows)
    drawing = bars(
        "accuracy",
        alt,
        rows,
        axis="accuracy out of domain, %",
        limit=100,
        highlight="student",
        reference=scores.oracle,
    )
    legend = [
        Key("trained on the student's counterfactuals", "--accent", "bar"),
        Key("trained on other images", "--bar", "bar"),
        Key("the oracle's accuracy", "--muted", "dashed"),
    ]
    return Figure([drawing], legend)


def seconds_figure(seconds: dict[str, float]) -> Figure:
    """Draw how long each stage took."""
    if not seconds:
        return Figure([], [])
    total = max(sum(seconds.values()), 1e-9)
    rows = [
        Bar(stage, value, duration(value), f"{100 * value / total:.0f}{NO_BREAK}% of the run")
        for stage, value in seconds.items()
    ]
    alt = "Bars of the time per stage: " + ", ".join(f"{row.label} {row.text}" for row in rows)
    drawing = bars("seconds", alt, rows, axis="wall time, s", limit=max(*seconds.values(), 1e-9))
    return Figure([drawing], [Key("wall time of a stage", "--bar", "bar")])


def distillation_figure(run: Path) -> Figure:
    """Draw the losses of each mechanism's student, a panel per mechanism; a loss has one colour in all."""
    logs = {mechanism: by_name(read_metrics(run / "students" / mechanism / "metrics.jsonl")) for mechanism in Mechanism}
    names = list(dict.fromkeys(name for series in logs.values() for name in series))
    panels = [distillation_panel(mechanism, series, names) for mechanism, series in logs.items() if series]
    return Figure(panels, line_keys(names))


def distillation_panel(mechanism: str, series: Series, names: list[str]) -> Markup:
    """Draw the losses of one mechanism's student, coloured by their place in ``names``."""
    ends = ", ".join(
        f"{name} from {decimal(values[0])} to {decimal(values[-1])}" for name, (_, values) in series.items()
    )
    return curves(
        f"distill-{mechanism}",
        f"Distillation losses of the {mechanism}: {ends}",
        {name: series.get(name, ([], [])) for name in names},
        title=mechanism,
        axis="loss",
        to_text=decimal,
    )


def classifiers_figure(run: Path, scores: OodAccuracy) -> Figure:
    """Draw each classifier's accuracy on its own training batches, with its accuracy out of domain as a line."""
    panels = [classifier_panel(run, name, score) for name, score in to_dict(scores).items()]
    return Figure(
        [panel for panel in panels if panel],
        [
            Key("on its own training batches", "--line-1"),
            Key("out of domain, after training", "--muted", "dashed"),
        ],
    )


def classifier_panel(run: Path, name: str, out_of_domain: float) -> Markup | None:
    """Draw one classifier's accuracy in training; None if none was logged."""
    series = by_name(read_metrics(run / "classifiers" / name / "metrics.jsonl"))
    if "accuracy" not in series:
        return None
    last = percent(series["accuracy"][1][-1])
    return curves(
        f"classify-{name}",
        f"Training accuracy of the {name} classifier: {last} at the end, {percent(out_of_domain)} out of domain",
        {"accuracy": series["accuracy"]},
        title=name,
        axis="accuracy, %",
        to_text=percent,
        limit=103,
        reference=out_of_domain,
    )


def by_name(lines: list[LogLine]) -> Series:
    """Turn a log's lines into one curve of (steps, values) per name."""
    series: Series = {}
    for line in lines:
        for name, value in line.values.items():
            steps, values = series.setdefault(name, ([], []))
            steps.append(line.step)
            values.append(value)
    return series
