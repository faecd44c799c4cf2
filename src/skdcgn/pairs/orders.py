"""Queries of a ledger: their questions, their files, and the books of the ranks that send them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.errors import UserError
from skdcgn.pairs.answers import QuestionRows, row_keys
from skdcgn.pairs.book import Book, Entry
from skdcgn.pairs.manifest import Purpose

BOOKS = "ledger*.jsonl"


class BudgetSpentError(UserError):
    """The next query would cost more than the budget has."""


class Order(NamedTuple):
    """Questions whose answers become pairs of ``folder``; ``repeat``: they are compared, not kept."""

    questions: QuestionRows
    folder: Path
    purpose: Purpose
    repeat: bool = False


class Task(NamedTuple):
    """A shard to fill: its number and its questions."""

    number: int
    questions: QuestionRows


def batches(count: int, most: int) -> list[range]:
    """Split ``count`` rows into queries of at most ``most``, the last of two rows rather than one.

    Networks compute a single row by other routines than several, so that its last bits may differ.
    """
    starts = [*range(0, count, most)]
    if most > 2 and count > most and count % most == 1:
        starts[-1] -= 1
    return [range(*bounds) for bounds in pairwise([*starts, count])]


def book_name(rank: int) -> str:
    """Return the name of the book that a rank writes."""
    return f"ledger-{rank}.jsonl" if rank else "ledger.jsonl"


def rank_of(book: Path) -> int:
    """Return the rank that writes the book."""
    words = book.stem.removeprefix("ledger").removeprefix("-")
    return int(words) if words.isdecimal() else 0


def read_books(folder: Path) -> list[Book]:
    """Return the books of all ranks."""
    return [Book(path) for path in sorted(folder.glob(BOOKS))]


def lock_of(book: Path) -> Path:
    """Return the file that its only writer locks."""
    return book.with_name(f".{book.name}.lock")


def keys_of(questions: QuestionRows) -> list[bytes]:
    """Return the key of each question."""
    return row_keys(questions.noise, questions.labels)


def file_of(folder: Path, kind: str, entry: Entry) -> Path:
    """Return the file of a query: ``kind`` is that of its questions or of its answer."""
    return folder / "ledger" / f"{kind}{entry.query}.safetensors"


def check_budget(folder: Path, books: Sequence[Book], budget: int, rows: int) -> None:
    """Raise BudgetSpentError if ``rows`` answers more would exceed the budget."""
    spent, lost = sum(book.spent for book in books), sum(book.lost for book in books)
    if spent + rows > budget:
        raise BudgetSpentError(
            f"{folder}: {spent:,} of the budget of {budget:,} answers are spent, {lost:,} of them were lost, and "
            f"{rows:,} more are needed; all that came are kept: run again with a greater --budget"
        )
