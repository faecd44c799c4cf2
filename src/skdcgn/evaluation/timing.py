"""Timings: counterfactuals per second of several CGNs, which take turns in one process."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher

Name = TypeVar("Name")

SPEED_ROUNDS = 5


def counterfactuals_per_second(cgns: dict[str, Teacher], images: int) -> dict[str, float]:
    """Return the median rate of each CGN over ``SPEED_ROUNDS`` rounds, with one texture per shape."""
    calls = {name: partial(compose, cgn, images) for name, cgn in cgns.items()}
    return {name: images / seconds for name, seconds in median_seconds(calls, SPEED_ROUNDS).items()}


def median_seconds(
    calls: Mapping[Name, Callable[[], Any]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, float]:
    """Return the median seconds of each call over ``rounds`` rounds.

    The calls take turns in every round, so that a machine that slows down slows all of them alike.

    Args:
        calls: by name; each must return when its work is done.
        rounds: how often each call is timed.
        warm_up: calls of each before the first round, which are not timed.
        clock: current time in seconds.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
