"""Experiment trackers beside metrics.jsonl: ``tensorboard``, whose events lie in the run folder, and ``wandb``."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from skdcgn.base.errors import UserError
from skdcgn.base.files import writing

TRACKERS = ("tensorboard", "wandb")
Send = Callable[[dict[str, float], int], None]


def require_tracker(name: str | None, *, installed: Callable[[str], object] = find_spec) -> None:
    """Raise UserError if there is no tracker ``name``, or if its package is not installed."""
    if name is not None and name not in TRACKERS:
        raise UserError(f"unknown tracker {name!r}: use {' or '.join(TRACKERS)}")
    if name is not None and installed(name) is None:
        raise UserError(f"the tracker {name} is not installed: pip install {name}")


def send_nowhere(values: dict[str, float], step: int) -> None:
    """Log nothing."""


@contextmanager
def open_tracker(name: str | None, folder: Path, start: int = 0) -> Iterator[Send]:
    """Yield ``send(values, step)``, which sends the values of a step to the tracker; None sends them nowhere.

    Args:
        folder: of the run; gets ``tensorboard/`` or ``wandb/``.
        start: how many steps of the run are done; TensorBoard hides later ones of an earlier, killed process.
    """
    require_tracker(name)
    if name is None:
        yield send_nowhere
        return
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    place = folder / name
    if name == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", folder, purge_step=start + 1)
    else:
        tracker = WandBTracker("skdcgn", name=folder.name, dir=str(folder))
    with writing(place):
        tracker.start()

    def send(values: dict[str, float], step: int) -> None:
        with writing(place):
            tracker.log(values, step=step)

    with _silent_threads():
        try:
            yield send
        finally:
            with writing(place):
                tracker.finish()


@contextmanager
def _silent_threads() -> Iterator[None]:
    """Print no OSError of a thread: TensorBoard's raises it again where the values come from."""
    before = threading.excepthook
    threading.excepthook = lambda error: None if isinstance(error.exc_value, OSError) else before(error)
    try:
        yield
    finally:
        threading.excepthook = before
