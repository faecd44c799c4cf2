"""How a program ends: what it does after success, and the signals that interrupt it.

The command line calls :func:`run_at_success` before it ends and works within :func:`interruptible`; a program that
uses the library keeps its own handlers of signals.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_actions: list[Callable[[], None]] = []


class Interrupted(KeyboardInterrupt):  # no error, as its base is none
    """A signal asks the program to end; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def at_success(action: Callable[[], None]) -> None:
    """Call ``action`` when the command line ends with status 0."""
    _actions.append(action)


def run_at_success() -> None:
    """Call what was registered, in its order."""
    for action in _actions:
        action()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise :class:`Interrupted` in the block, unless they are ignored, as by nohup.

    While the program then ends in order, a second SIGINT ends it at once and the others are ignored. In a thread other
    than the main one, which alone receives signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL if one == signal.SIGINT else signal.SIG_IGN)
    raise Interrupted(number)
