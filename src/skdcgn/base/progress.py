"""How far work has come: ``tell = watch("distill shape", 1500)``, then ``tell(done, losses)`` after each step.

A :data:`Watch` begins a task and returns its :class:`Tell`. :func:`log_progress` writes to the logger ``skdcgn``,
which is silent until the caller configures :mod:`logging`; :func:`progress_bars` draws bars in a terminal and in a
notebook.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("skdcgn")
NO_LOSSES: Mapping[str, float] = MappingProxyType({})
LOG_EVERY, DRAW_EVERY = 60.0, 0.5  # seconds between two lines, and between two drawings of a notebook's bar


class Tell(Protocol):
    """Takes how much of a task is done and, by name, the losses of its last step."""

    def __call__(self, done: int, losses: Mapping[str, float] = NO_LOSSES, /) -> None: ...


Watch = Callable[[str, int], Tell]
TimeFunction = Callable[[], float]


class Progress(NamedTuple):
    """A task at one moment; ``seconds_left`` is None until its speed is known."""

    name: str
    done: int
    total: int
    losses: Mapping[str, float] = NO_LOSSES
    seconds_left: float | None = None

    def __str__(self) -> str:
        """Return one line, as ``distill shape: 500 of 3000, pixel 0.0432, 2:31 left``."""
        remaining = f"{duration(self.seconds_left)} left" if self.seconds_left is not None else ""
        parts = (f"{self.done} of {self.total}", format_losses(self.losses, 3), remaining)
        return f"{self.name}: " + ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Return ``2:31``, or ``1:02:31`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_losses(losses: Mapping[str, float], most: int) -> str:
    """Return the first ``most`` losses with three significant digits, as ``pixel 0.0432, kl 1.2``."""
    return ", ".join(f"{name} {value:.3g}" for name, value in list(losses.items())[:most])


def ignore(done: int, losses: Mapping[str, float] = NO_LOSSES, /) -> None:
    """Report nothing."""


def silent(name: str, total: int) -> Tell:
    """Begin a task that reports nothing."""
    return ignore


def at_intervals(
    name: str, total: int, show: Callable[[Progress], None], every: float, clock: TimeFunction = time.monotonic
) -> Tell:
    """Return a teller that shows a task at most once in ``every`` seconds, and when it ends.

    The remaining time comes from the mean speed since the first report, because a resumed task does not begin at zero.
    """
    first: tuple[float, int] | None = None
    shown = clock()

    def tell(done: int, losses: Mapping[str, float] = NO_LOSSES, /) -> None:
        nonlocal first, shown
        now = clock()
        first = first or (now, done)
        if done == total or now - shown >= every:
            speed = (done - first[1]) / (now - first[0]) if now > first[0] else 0.0
            show(Progress(name, done, total, losses, (total - done) / speed if speed and done < total else None))
            shown = now

    return tell


def log_progress(name: str, total: int, *, every: float = LOG_EVERY, clock: TimeFunction = time.monotonic) -> Tell:
    """Log a line at most once in ``every`` seconds, with step, losses and remaining time, and a line at the end."""

    def show(progress: Progress) -> None:
        logger.info(f"{name}: {total} done" if progress.done == total else str(progress))

    return at_intervals(name, total, show, every, clock)


@contextmanager
def progress_bars(console: "Console | None" = None) -> Iterator[Watch]:
    """Yield a watch that draws a bar per task in a terminal or a notebook, and elsewhere logs lines::

        with skdcgn.progress_bars() as watch:
            student = skdcgn.distill(teacher, "runs/mine", watch=watch)

    Args:
        console: where a terminal's bars are drawn; None takes the standard error stream.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if console.is_jupyter:
        yield notebook_bar
    elif console.is_terminal:
        with _terminal_bars(console) as bars:
            yield lambda name, total: _terminal_bar(bars, name, total)
    else:
        yield log_progress


def _terminal_bars(console: "Console") -> Any:
    import rich.progress as columns

    return columns.Progress(
        columns.TextColumn("{task.description:24}"),
        columns.BarColumn(bar_width=14),
        columns.MofNCompleteColumn(),
        columns.TimeRemainingColumn(),
        columns.TextColumn("{task.fields[losses]}"),
        console=console,
    )


def _terminal_bar(bars: Any, name: str, total: int) -> Tell:
    task = bars.add_task(name, total=total, losses="")

    def tell(done: int, losses: Mapping[str, float] = NO_LOSSES, /) -> None:
        bars.update(task, completed=done, losses=format_losses(losses, 1))

    return tell


def notebook_bar(name: str, total: int) -> Tell:
    """Show a bar below a notebook's cell; rich's own needs ipywidgets and leaves nothing in a saved notebook."""
    from IPython.display import display

    handle = display(_bundle(Progress(name, 0, total)), raw=True, display_id=True)
    return at_intervals(name, total, lambda progress: handle.update(_bundle(progress), raw=True), DRAW_EVERY)


def _bundle(progress: Progress) -> dict[str, str]:
    bar = f'<progress value="{progress.done}" max="{progress.total}"></progress>'
    return {"text/html": f"{bar} <code>{escape(str(progress))}</code>", "text/plain": str(progress)}
