"""Statistics over seeds: mean, sample deviation, and where one more seed may lie. No torch here."""

import math
import statistics
from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Measure


@dataclass(frozen=True)
class MeanDeviation:
    """Mean and sample standard deviation over seeds."""

    mean: Measure
    deviation: Measure


def with_deviation(mean: float, deviation: float, form: str = ".1f") -> str:
    """Print both as ``form`` says; of one seed, which has no deviation, the mean alone."""
    return f"{mean:{form}} ± {deviation:{form}}" if deviation else f"{mean:{form}}"


def mean_and_deviation(values: Sequence[float]) -> MeanDeviation:
    """Return both; of one value the deviation is 0."""
    return MeanDeviation(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def prediction_interval(over: MeanDeviation, count: int) -> tuple[float, float]:
    """Return the 95 % interval for one more seed after ``count``: mean -+ t(count - 1) deviation sqrt(1 + 1/count).

    In percent: cut to [0, 100].
    """
    from scipy.stats import t as student_t

    reach = float(student_t.ppf(0.975, count - 1)) * over.deviation * math.sqrt(1 + 1 / count)
    return max(over.mean - reach, 0.0), min(over.mean + reach, 100.0)
