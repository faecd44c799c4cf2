"""A budget: the most answers of all mechanisms and purposes together, and the counts that fit into it."""

import logging
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from skdcgn.base.config import QueryConfig
from skdcgn.base.errors import UserError
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.book import Book
from skdcgn.pairs.first_look import rows_to_repeat
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, Part, read_manifests

logger = logging.getLogger(__name__)
Counts = dict[Part, int]


def requested(config: QueryConfig) -> Counts:
    """Return the counts of a configuration, by mechanism and purpose, in the order of their queries."""
    training = (config.shape, config.texture, config.background)
    return {
        part: count
        for mechanism, budget in zip(Mechanism, training, strict=True)
        for part, count in (((mechanism, HELD_OUT), config.held_out), ((mechanism, TRAIN), budget))
    }


def most_answers(config: QueryConfig) -> int | None:
    """Return the smaller one of ``budget`` and the whole part of ``max_cost / price``; None without a limit.

    Raises:
        UserError: a greatest cost without a price.
    """
    if config.max_cost is not None and config.price is None:
        raise UserError("--max-cost needs the price of an answer: pass --price too")
    limits = [] if config.budget is None else [config.budget]
    if config.max_cost is not None and config.price:
        limits.append(int(Fraction(str(config.max_cost)) / Fraction(str(config.price))))
    return min(limits, default=None)


def least_counts(request: Counts, planned: Mapping[Part, int]) -> Counts:
    """Return the counts below which nothing is cut: those that are ``planned`` already, else 1."""
    return {part: min(planned.get(part, 1), count) for part, count in request.items()}


def fit(request: Counts, least: Counts, limit: int) -> Counts:
    """Cut the counts ``request`` in proportion to at most ``limit`` in all, which is at least the sum of ``least``.

    No count falls below its least. A greater limit makes no count smaller.
    """
    total = sum(request.values())

    def share(size: int) -> Counts:
        return {part: max(least[part], count * size // total) for part, count in request.items()}

    fitting = bisect_right(range(total + 1), limit, key=lambda size: sum(share(size).values()))
    return share(fitting - 1)


def in_words(counts: Counts) -> str:
    """Return ``shape 120, texture 60, background 60, and 10 held-out pairs of each``."""
    training = ", ".join(f"{mechanism} {counts[mechanism, TRAIN]:,}" for mechanism in Mechanism)
    held_out = {counts[mechanism, HELD_OUT] for mechanism in Mechanism}
    pairs = " to ".join(f"{count:,}" for count in sorted({min(held_out), max(held_out)}))
    return f"{training}, and {pairs} held-out pairs of each"


def planned_counts(folder: Path, parts: Iterable[Part]) -> Counts:
    """Return the counts that the folder ``folder/MECHANISM/PURPOSE`` of each part was planned with, if it was."""
    manifests = {part: read_manifests(folder.joinpath(*part)) for part in parts}
    return {part: max(one.count for one in ranks) for part, ranks in manifests.items() if ranks}


def repeats(access: Access | None, books: Sequence[Book], most: int) -> int:
    """Return how many answers the first looks at a black box have still to pay twice, of ``most`` of each mechanism."""
    if access is None or not access.paid or access.idempotent:
        return 0
    done = {mechanism for book in books for mechanism in book.compared}
    return (len(Mechanism) - len(done)) * min(rows_to_repeat(access), access.batch, most)


def affordable(
    config: QueryConfig, request: Counts, folder: Path, access: Access | None, books: Sequence[Book] = ()
) -> Counts:
    """Return the counts ``request``, cut to fit into the budget of ``config``; a log line says to what.

    Args:
        folder: of the pairs; what is planned there is not cut.
        access: of the black box; None for another teacher.
        books: of the folder. What was lost, and what is asked twice, leaves fewer pairs.

    Raises:
        UserError: the budget is too small.
    """
    limit = most_answers(config)
    if limit is None:
        return request
    planned = planned_counts(folder, request)
    least, lost = least_counts(request, planned), sum(book.lost for book in books)
    extra = sum(book.wasted for book in books) + repeats(access, books, min(config.held_out, config.shard_size))
    needed = sum(least.values()) + extra
    if needed > limit and not planned:
        twice = f", and {extra} answers to ask twice" if extra else ""
        raise UserError(
            f"a budget of {limit:,} answers is too small: it takes {needed} at least, one pair of each mechanism for "
            f"training and one held out{twice}"
        )
    if needed > limit:
        raise UserError(
            f"{folder}: {sum(least.values()):,} pairs are planned, and {lost:,} answers were lost: all that came "
            f"are kept, but a budget of {limit:,} is not enough: pass --budget {needed}"
        )
    counts = fit(request, least, limit - extra)
    if counts != request:
        logger.warning(f"a budget of {limit:,} answers: {in_words(counts)}")
    return counts
