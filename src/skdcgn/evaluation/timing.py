"""Timings: counterfactuals per second of several CGNs, which take turns in one process."""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from skdcgn.base.progress import Tell, TimeFunction, Watch, ignore, log_progress
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher

Name = TypeVar("Name")
logger = logging.getLogger(__name__)

SPEED_ROUNDS = 5
SPEED_SECONDS = 60.0  # of all rounds together, as expected before they begin


class Rounds(NamedTuple):
    """How many rounds of how many images are timed."""

    rounds: int
    images: int


def counterfactuals_per_second(
    cgns: dict[str, Teacher],
    images: int,
    *,
    watch: Watch = log_progress,
    seconds: float = SPEED_SECONDS,
    clock: TimeFunction = time.perf_counter,
) -> dict[str, float]:
    """Return the median rate of each CGN over ``SPEED_ROUNDS`` rounds, with one texture per shape.

    Rounds of slow CGNs have fewer images than ``images``, or are fewer, see :func:`affordable_rounds`: with the calls
    that find this out, the timing takes at most about twice ``seconds``, or two images of each CGN.

    Args:
        cgns: by name; all of them compose the same number of images in a round.
        images: of each CGN in a round.
        watch: is told of each round.
        seconds: that all rounds may take.
        clock: current time in seconds.
    """

    def each(count: int) -> None:
        for cgn in cgns.values():
            compose(cgn, count)

    rounds, count = affordable_rounds(each, images, seconds, clock)
    if count < images or rounds < SPEED_ROUNDS:
        logger.info(f"slow CGNs are timed in {rounds} rounds of {count} images, not {SPEED_ROUNDS} of {images}")
    calls = {name: partial(compose, cgn, count) for name, cgn in cgns.items()}
    medians = median_seconds(calls, rounds, warm_up=0, clock=clock, tell=watch("time counterfactuals", rounds))
    return {name: count / own for name, own in medians.items()}


def affordable_rounds(call: Callable[[int], Any], most: int, seconds: float, clock: TimeFunction) -> Rounds:
    """Return how many rounds of how many images, ``SPEED_ROUNDS`` and ``most`` at best, end within ``seconds``.

    The number of images doubles, from one, while rounds of twice as many are expected to end in time: where they take
    twice as long. The calls are a warm-up, the last one with the number of images that is returned.

    Args:
        call: does the work of a round for a number of images.
        most: images of a round at most.
        seconds: that all rounds may take.
        clock: current time in seconds.
    """
    count = 1
    while True:
        start = clock()
        call(count)
        own = clock() - start
        if count == most or 2 * SPEED_ROUNDS * own > seconds:
            return Rounds(max(1, min(SPEED_ROUNDS, int(seconds / own) if own else SPEED_ROUNDS)), count)
        count = min(2 * count, most)


def median_seconds(
    calls: Mapping[Name, Callable[[], Any]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: TimeFunction = time.perf_counter,
    tell: Tell = ignore,
) -> dict[Name, float]:
    """Return the median seconds of each call over ``rounds`` rounds.

    The calls take turns in every round, so that a machine that slows down slows all of them alike.

    Args:
        calls: by name; each must return when its work is done.
        rounds: how often each call is timed.
        warm_up: calls of each before the first round, which are not timed.
        clock: current time in seconds.
        tell: is told how many rounds are done.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for done in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
        tell(done + 1)
    return {name: statistics.median(values) for name, values in seconds.items()}
