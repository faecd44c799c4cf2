"""How far one more seed may lie from the mean of some."""

import math

from scipy.stats import t as student_t


def with_band(mean: float, deviation: float, count: int) -> dict[str, float]:
    """Return both, and the 95 % prediction interval for one more seed: mean +- t(n - 1) deviation sqrt(1 + 1/n)."""
    reach = float(student_t.ppf(0.975, count - 1)) * deviation * math.sqrt(1 + 1 / count)
    told = {"mean": mean, "deviation": deviation, "low": max(mean - reach, 0.0), "high": min(mean + reach, 100.0)}
    return {key: round(value, 2) for key, value in told.items()}
