"""Black boxes: teachers that nobody here wrote, and how they may be asked.

A function, an ONNX file, a service and recorded pairs state an :class:`Access`; teachers whose networks are ours state
none.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from skdcgn.base.bounds import MOST_COUNT
from skdcgn.base.errors import UserError, shown
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.subset import ClassSubset


@dataclass(frozen=True)
class Access:
    """How a black box may be asked.

    Args:
        batch: most pairs in one query.
        in_flight: queries at a time.
        paid: whether answers cost something: each query is then booked before it is sent.
        idempotent: whether the same query sent twice is paid once.

    Raises:
        UserError: a number below 1 or too large.
    """

    batch: int = 256
    in_flight: int = 1
    paid: bool = False
    idempotent: bool = True

    def __post_init__(self) -> None:
        for name, value in (("batch", self.batch), ("in_flight", self.in_flight)):
            if not 1 <= value <= MOST_COUNT:
                raise UserError(f"{name} {shown(value)}: a black box takes 1 to {MOST_COUNT:,}")


@runtime_checkable
class BlackBox(Teacher, Protocol):
    """A teacher that nobody here wrote: a function, an ONNX file, a service, recorded pairs."""

    @property
    def access(self) -> Access: ...


def access_of(teacher: Teacher) -> Access | None:
    """Return how a black box, or one for some of its classes, may be asked; None for any other teacher."""
    if isinstance(teacher, ClassSubset):
        return access_of(teacher.teacher)
    return teacher.access if isinstance(teacher, BlackBox) else None
