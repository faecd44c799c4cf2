"""What a program does when it has succeeded: the command line calls :func:`run_at_success` before it ends."""

from collections.abc import Callable

_actions: list[Callable[[], None]] = []


def at_success(action: Callable[[], None]) -> None:
    """Call ``action`` when the command line ends with status 0."""
    _actions.append(action)


def run_at_success() -> None:
    """Call what was registered, in its order."""
    for action in _actions:
        action()
