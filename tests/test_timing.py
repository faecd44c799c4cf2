"""Timings by a clock of the test's own."""

import pytest

from skdcgn.cgn.mechanism import Spec
from skdcgn.evaluation.timing import affordable_rounds, counterfactuals_per_second, median_seconds


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


@pytest.mark.parametrize(
    ("per_image", "most", "rounds"),
    [
        (0.001, 512, (5, 512)),  # a fast CGN has what was asked for
        (0.2, 16, (5, 16)),
        (3.1, 16, (5, 2)),  # five rounds of four would take a minute and two seconds
        (5.0, 16, (5, 2)),
        (20.0, 16, (3, 1)),
        (500.0, 16, (1, 1)),
        (0.0, 16, (5, 16)),
    ],
)
def test_slow_rounds_have_fewer_images_or_are_fewer(per_image, most, rounds):
    now, calls = [0.0], []

    def call(count):
        calls.append(count)
        now[0] += per_image * count

    assert affordable_rounds(call, most, 60, lambda: now[0]) == rounds
    assert now[0] + rounds[0] * rounds[1] * per_image <= max(2 * 60, 2 * per_image)
    assert calls[-1] == rounds[1]


class Slow:
    """A black box that takes ``seconds`` for a layer, by a clock of the test's own."""

    spec, digest, size = Spec(), "slow", None

    def __init__(self, inner, seconds, now):
        self.inner, self.seconds, self.now = inner, seconds, now

    def query(self, mechanism, noise, labels):
        self.now[0] += self.seconds * len(labels)
        return self.inner.query(mechanism, noise, labels)


def test_a_slow_teacher_is_timed_in_bounded_time_and_not_in_silence(analytic_teacher, random_cgn, caplog):
    caplog.set_level("INFO")
    now, shown = [0.0], []

    def watch(name, total):
        shown.append((name, total))
        return lambda done, losses=None: shown.append(done)

    cgns = {"teacher": Slow(analytic_teacher, 0.9, now), "student": Slow(random_cgn, 0.01, now)}
    rates = counterfactuals_per_second(cgns, 16, watch=watch, clock=lambda: now[0])
    assert rates == pytest.approx({"teacher": 1 / 2.7, "student": 1 / 0.03})
    assert now[0] < 120
    assert shown == [("time counterfactuals", 5), 1, 2, 3, 4, 5]
    assert caplog.messages == ["slow CGNs are timed in 5 rounds of 4 images, not 5 of 16"]
