"""Timings: counterfactuals per second, of several CGNs in turn in one process."""

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
    """Time each CGN in turn, ``SPEED_ROUNDS`` times after a warm-up; return the medians (one texture per shape)."""
    calls = {name: partial(compose, cgn, images) for name, cgn in cgns.items()}
    return {name: images / seconds for name, seconds in median_seconds(calls, SPEED_ROUNDS).items()}


def median_seconds(calls: Mapping[Name, Callable[[], Any]], rounds: int, *, warm_up: int = 1) -> dict[Name, float]:
    """Time each call in turn, ``rounds`` times after ``warm_up`` unmeasured ones; return its median in seconds.

    In turn, so that a machine that slows down slows all of them. A call must return when its work is done.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warm_up):
            call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
