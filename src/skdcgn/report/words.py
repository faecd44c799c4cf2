"""Sentences and numbers as the report prints them; the sentences say so when the student is the worse one."""

from typing import Any

from markupsafe import Markup

from skdcgn.evaluation.scores import NOT_MEASURED, PixelL1
from skdcgn.results.records import ImageNetResults, MnistResults, OodAccuracy, RunResults, Sizes, Speeds

COARSE, AVERAGE = 0.5, 1.0  # an L1 over the label mean's, above which a student's drawings are called so
UNKNOWN, NOTHING = "unknown", "\N{EN DASH}"
TIMES, NO_BREAK = "\N{MULTIPLICATION SIGN}", "\N{NO-BREAK SPACE}"


def summary(results: MnistResults) -> Markup:
    """Say what the run measured: cost of the student, then accuracies, the student's emphasised."""
    scores = results.ood_accuracy
    return Markup(
        "{} A classifier trained on its counterfactuals reaches <strong>{}</strong> accuracy out of domain;"
        " trained on its teacher's, {}; on biased data, {}; the oracle, {}."
    ).format(
        cost_sentence(results),
        *(percent(score) for score in (scores.student, scores.teacher, scores.biased, scores.oracle)),
    )


def imagenet_summary(results: ImageNetResults) -> Markup:
    """Say what the run measured: cost of the student, then top-1 accuracies, where real images were tested."""
    ensembles, cost = results.ensembles, cost_sentence(results)
    top = {name: scores["top-1"].text("ensemble") for name, scores in ensembles.items() if "top-1" in scores}
    if not top or results.stand_in:
        return Markup("{}").format(cost)
    return Markup(
        "{} An ensemble trained with its counterfactuals reaches <strong>{}</strong> top-1 accuracy;"
        " trained with its teacher's, {}; on real images alone, {}."
    ).format(cost, *(f"{top[name]}{NO_BREAK}%" for name in ("student", "teacher", "plain")))


def cost_sentence(results: RunResults) -> str:
    """Compare the student's size and speed with its teacher's."""
    size, smaller = size_phrase(results.parameters)
    speed, faster = speed_phrase(results.counterfactuals_per_second)
    return f"The student {size} {'and' if smaller == faster else 'but'} {speed}."


def size_phrase(sizes: Sizes) -> tuple[str, bool]:
    """Compare the student's size with its teacher's; also return whether that is to the student's credit."""
    if sizes.teacher is None:
        return f"has {count(sizes.student)} parameters (its teacher's size is unknown)", True
    ratio = sizes.teacher / sizes.student
    if same(ratio):
        return "is about as large as its teacher", True
    return f"is {smaller_or_larger(ratio)} than its teacher", ratio > 1


def speed_phrase(speeds: Speeds) -> tuple[str, bool]:
    """Compare the student's speed with its teacher's; also return whether that is to the student's credit."""
    ratio = speeds.student / speeds.teacher
    if same(ratio):
        return "draws about as fast", True
    return f"draws {'' if ratio > 1 else 'only '}{times(ratio)} as fast", ratio > 1


def same(ratio: float) -> bool:
    """Whether two numbers of this ratio differ by less than a twentieth."""
    return 0.95 < ratio < 1.05


def verdict(scores: OodAccuracy) -> str:
    """Say whether the counterfactuals helped, as far as the printed digits can tell."""
    gain = round(scores.student, 1) - round(scores.biased, 1)
    teacher_gain = round(scores.teacher, 1) - round(scores.biased, 1)
    if gain <= 0:
        teacher = "nor do its teacher's" if teacher_gain <= 0 else f"its teacher's gain {points(teacher_gain)}"
        return f"The student's counterfactuals do not improve on biased data here; {teacher}."
    if teacher_gain <= 0:
        return f"The student gains {points(gain)} over biased data, although its teacher gains nothing."
    if gain < teacher_gain:
        return f"Of the {points(teacher_gain)} that its teacher gains over biased data, the student keeps {gain:.1f}."
    ahead = f"{points(gain - teacher_gain)} more than" if gain > teacher_gain else "as much as"
    return f"The student gains {points(gain)} over biased data, {ahead} its teacher."


def smaller_or_larger(ratio: float) -> str:
    """Name the size of a student by the ratio teacher / student."""
    return f"{times(ratio)} smaller" if ratio >= 1 else f"{times(1 / ratio)} larger"


def remark(l1: PixelL1, level: float) -> str:
    """Warn about a student whose error comes near that of the class averages.

    Where those are less than ``level``, one of 256 steps, away from the answers, there is nothing to tell apart.
    """
    if l1.label_mean < level:
        return "the teacher varies by less than a grey level"
    if l1.student >= AVERAGE * l1.label_mean:
        return "draws little more than class averages"
    return "coarse" if l1.student > COARSE * l1.label_mean else ""


def compared_with(value: float, other: float, name: str) -> str:
    """Compare two percentages by the digits that are printed."""
    difference = round(value, 1) - round(other, 1)
    if not round(difference, 1):
        return f"equal to {name}"
    return f"{points(abs(difference))} {'below' if difference < 0 else 'above'} {name}"


# Numbers


def percent(value: float) -> str:
    return f"{value:.1f}{NO_BREAK}%"


def count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def times(ratio: float) -> str:
    return (
        f"{ratio:,.0f}{TIMES}" if ratio >= 9.95 else f"{ratio:.1f}{TIMES}" if ratio >= 0.95 else f"{ratio:.2g}{TIMES}"
    )


def decimal(value: float | None) -> str:
    """Print a loss or a distance, to three digits or so."""
    return NOT_MEASURED if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


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


def setting(value: Any) -> str:
    """Print the value of a setting."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else str(value)
