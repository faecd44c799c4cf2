"""How long work tells how far it is: ``tell = watch("distill shape", 1500)``, then ``tell(done)``."""

from collections.abc import Callable

Tell = Callable[[int], None]
Watch = Callable[[str, int], Tell]


def unwatched(name: str, total: int) -> Tell:
    """Tell nobody."""
    return lambda done: None
