"""Processes of a run on digits that start before this one imports torch, which takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager

from skdcgn.base.config import RunConfig
from skdcgn.training.side_by_side import LEAST_STEPS, Processes, early_processes

COUNT = 3  # as there are mechanisms
RUN = "skdcgn.experiments.run_mnist"  # the module of the jobs
LEAST_IMAGES = 10_000  # of a classifier, as LEAST_STEPS of a mechanism


def is_long(config: RunConfig) -> bool:
    """Tell whether processes save more time in a run than it takes to start them."""
    return config.distill.steps >= LEAST_STEPS or config.classify.images * config.classify.epochs >= LEAST_IMAGES


@contextmanager
def processes_of_run(config: RunConfig) -> Iterator[Processes | None]:
    """Yield processes for the jobs of a run, unless it is a short one or has one thread alone."""
    if is_long(config):
        with early_processes(COUNT, RUN) as processes:
            yield processes
    else:
        yield None
