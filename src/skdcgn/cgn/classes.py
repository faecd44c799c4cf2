"""Classes are matched by name, never by number alone: the one place where two numberings meet.

A CGN, a data set and a classifier number their classes 0, 1, ... each in an order of its own. :func:`match_classes`
translates the numbers of one into those of another, or refuses and names the class that does not fit. Classes without
names are called by their numbers as words, ``0``, ``1``, ...
"""

import difflib
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Spec, Teacher
from skdcgn.cgn.subset import ClassSubset

logger = logging.getLogger(__name__)
LISTED = 8  # classes in a message


@dataclass(frozen=True)
class Classes:
    """The classes of a CGN, a data set or a classifier.

    Args:
        owner: what has them, as a message names it: a path, a name.
        count: how many there are.
        names: in order; empty if they have none.
    """

    owner: str
    count: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, owner: object, spec: Spec) -> "Classes":
        """Return the classes of a CGN."""
        return cls(str(owner), spec.classes, spec.names)

    @property
    def words(self) -> tuple[str, ...]:
        """The names; where there are none, the numbers."""
        return self.names or tuple(map(str, range(self.count)))

    def __str__(self) -> str:
        named = f" ({listed(self.names)})" if self.names else " without names"
        return f"{self.owner} has {self.count} {'class' if self.count == 1 else 'classes'}{named}"


def match_classes(own: Classes, other: Classes, mend: str, *, some: bool = False) -> Tensor:
    """Return the number in ``own`` of each class of ``other``, (other.count,) int64.

    If one side has no names, other words than numbers on the other side and as many classes, its classes are taken in
    order, and a warning says so.

    Args:
        own: whose numbers are returned.
        other: whose numbers are translated.
        mend: what a user can do about classes that do not fit; the end of the message.
        some: ``other`` may have only some of the classes.

    Raises:
        UserError: ``other`` has a class that ``own`` lacks, or lacks one unless ``some``.
    """
    numbers = {name: number for number, name in enumerate(_composed(own.words))}
    words = _composed(other.words)
    strange = [name for name in words if name not in numbers]
    missing = [] if some else [name for name in numbers if name not in set(words)]
    if not strange and not missing:
        return torch.tensor([numbers[name] for name in words])
    if bool(own.names) != bool(other.names) and own.count == other.count:
        _warn_of_order(*((own, other) if other.names else (other, own)))
        return torch.arange(own.count)
    if own.names and other.names:
        raise UserError(f"{_misfit(own, other, strange, missing)}: {mend}")
    raise UserError(f"{own}, {other}: {mend}")


def in_order_of(own: Classes, cgn: Teacher, owner: object, mend: str) -> Teacher:
    """Return the CGN with its classes in the order of ``own``; itself if they are.

    Args:
        own: whose order.
        cgn: a CGN with the same classes.
        owner: the CGN, as a message names it.
        mend: see :func:`match_classes`.

    Raises:
        UserError: the CGN has other classes.
    """
    order = match_classes(own, Classes.of(owner, cgn.spec), mend).argsort().tolist()
    return cgn if order == list(range(own.count)) else ClassSubset(cgn, tuple(order))


def listed(names: Sequence[str]) -> str:
    """Return the first names in one line, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _composed(names: Sequence[str]) -> Sequence[str]:
    """Return names with composed letters, of which macOS decomposes those of files; as they are if two become one."""
    composed = [unicodedata.normalize("NFC", name) for name in names]
    return composed if len(set(composed)) == len(names) else names


def _misfit(own: Classes, other: Classes, strange: list[str], missing: list[str]) -> str:
    if not strange:
        return f"{other.owner} has no class {listed(list(map(repr, missing)))}, {own}"
    folded = {name.casefold(): name for name in own.names}
    close = difflib.get_close_matches(strange[0].casefold(), folded, n=1)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return f"{other.owner} has the class {listed(list(map(repr, strange)))}, which {own.owner} lacks ({own}){hint}"


def _warn_of_order(nameless: Classes, named: Classes) -> None:
    pairs = listed([f"{number} = {name}" for number, name in enumerate(named.names)])
    logger.warning(f"{nameless.owner} has no class names: its classes are taken in the order of {named.owner}: {pairs}")
