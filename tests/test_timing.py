"""Timings by a clock of the test's own."""

from skdcgn.evaluation.timing import counterfactuals_per_second, median_seconds


def test_calls_take_turns_after_their_warm_up_and_the_median_counts():
    order, now = [], [0.0]
    seconds = {"slow": iter([100, 100, 9, 5, 5, 5, 5]), "fast": iter([100, 100, 1, 1, 7, 1, 1])}

    def call(name):
        order.append(name)
        now[0] += next(seconds[name])

    calls = {name: lambda name=name: call(name) for name in seconds}
    assert median_seconds(calls, 5, warm_up=2, clock=lambda: now[0]) == {"slow": 5, "fast": 1}
    assert order == ["slow", "slow", "fast", "fast", *["slow", "fast"] * 5]


def test_rates_are_positive_and_named(analytic_teacher, random_cgn):
    rates = counterfactuals_per_second({"teacher": random_cgn, "student": analytic_teacher}, 8)
    assert rates.keys() == {"teacher", "student"}
    assert min(rates.values()) > 0
    assert max(rates.values()) < float("inf")
