"""The ledger of a paid black box: each query is written down before it is sent, each answer before the next is asked.

A query of at most ``access.batch`` pairs becomes a file ``ledger/asked-ID.safetensors`` and a line of the book, both on
disk, before it is sent; its answer replaces the file by ``ledger/answered-ID.safetensors``. At a kill, as many queries
are open as the black box answers at a time (``access.in_flight``). They are sent again, row by row as they were, to a
black box that knows repeated queries; otherwise they count as lost, and are asked anew. What was answered for a
question is looked up in all shards and answers of the folder before anything is sent.

Each rank keeps a book. A query is booked under a lock that all ranks share, so that their sum stays within the budget.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import LostAnswerError, RefusedError, UserError
from skdcgn.base.files import exclusive
from skdcgn.base.rank import Rank
from skdcgn.cgn.black_box import Access, access_of
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher, check_answer
from skdcgn.pairs.answers import (
    ANSWERED,
    ASKED,
    Answer,
    Archive,
    QuestionRows,
    StoredShard,
    read_questions,
    row_keys,
    write_answer,
    write_questions,
)
from skdcgn.pairs.book import Book, Entry, State
from skdcgn.pairs.first_look import compare_answers, warn_of_looks
from skdcgn.pairs.manifest import HELD_OUT, Purpose, Shard

TRIES = 3  # of a query whose answers are lost
BOOKS = "ledger*.jsonl"
LOCK = ".ledger.lock"


logger = logging.getLogger(__name__)


class BudgetSpentError(UserError):
    """The next query would cost more than the budget has."""


class Order(NamedTuple):
    """QuestionRows whose answers become pairs of ``folder``; ``repeat``: they are compared, not kept."""

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
    return f"ledger-{rank}.jsonl" if rank else "ledger.jsonl"


def rank_of(book: Path) -> int:
    """Return the rank that writes the book."""
    words = book.stem.removeprefix("ledger").removeprefix("-")
    return int(words) if words.isdecimal() else 0


def read_books(folder: Path) -> list[Book]:
    """Return the books of all ranks."""
    return [Book(path) for path in sorted(folder.glob(BOOKS))]


class Ledger:
    """The queries of one process to a paid black box; :func:`open_ledger` opens it."""

    def __init__(self, teacher: Teacher, access: Access, folder: Path, rank: Rank, budget: int | None) -> None:
        self.teacher, self.access, self.folder, self.rank, self.budget = teacher, access, folder, rank, budget
        self.book = Book(folder / book_name(rank.own))
        self.pool = ThreadPoolExecutor(access.in_flight, "query")
        self._archives: dict[Mechanism, Archive] = {}
        self._others: dict[Path, tuple[int, Book]] = {}
        self._lock = threading.Lock()

    @property
    def spec(self) -> Spec:
        return self.teacher.spec

    def archive(self, mechanism: Mechanism) -> Archive:
        """Return where the answers of a mechanism are, as of its first use."""
        if mechanism not in self._archives:
            self._archives[mechanism] = Archive(self.folder, mechanism, self.teacher.digest, self.spec)
        return self._archives[mechanism]

    def books(self) -> list[Book]:
        """Return the books of all ranks, as they are now."""
        books = [self.book]
        for path in sorted(self.folder.glob(BOOKS)):
            if path != self.book.path:
                size = regular_file(path).stat().st_size
                if self._others.get(path, (-1,))[0] != size:
                    self._others[path] = size, Book(path)
                books.append(self._others[path][1])
        return books

    def shards(
        self, tasks: Iterable[Task], folder: Path, purpose: Purpose, *, ahead: bool = True
    ) -> Iterator[tuple[Task, Tensor]]:
        """Yield each task with its images (N, C, H, W); ``ahead``: the queries of the next one are on their way."""
        waiting = deque[tuple[Task, list[bytes]]]()
        for task in tasks:
            waiting.append((task, self._begin(Order(task.questions, folder, purpose))))
            if len(waiting) > ahead:
                yield self._finish(*waiting.popleft())
        while waiting:
            yield self._finish(*waiting.popleft())

    def answers(self, order: Order) -> Tensor:
        """Return the images (N, C, H, W); asks what no answer is there for."""
        mechanism = order.questions.mechanism
        return self.archive(mechanism).take(self._begin(order), mechanism)

    def _finish(self, task: Task, keys: list[bytes]) -> tuple[Task, Tensor]:
        return task, self.archive(task.questions.mechanism).take(keys, task.questions.mechanism)

    def _begin(self, order: Order) -> list[bytes]:
        """Begin to ask what no answer is there for; return the keys of all rows."""
        mechanism, noise, labels = order.questions
        archive, keys = self.archive(mechanism), _keys(order.questions)
        for rows_of_query in batches(len(keys), self.access.batch):
            batch = {keys[row]: row for row in rows_of_query}
            new = {key: row for key, row in batch.items() if key not in archive.places}
            if new:
                rows = torch.tensor(list(new.values()))
                part = order._replace(questions=QuestionRows(mechanism, noise[rows], labels[rows]))
                archive.add(new, Answer(len(new), self.spec, self._start(part)))
        return keys

    def _start(self, order: Order) -> Callable[[], tuple[Path, Tensor]]:
        """Return what waits for the answer; a black box that takes one query at a time is asked in this thread."""
        ask = partial(self.ask, order)
        return ask if self.access.in_flight == 1 else self.pool.submit(ask).result

    def store(self, task: Task, folder: Path, shard: Shard) -> None:
        """Note that the pairs of a task are in a shard, which the manifest states: their answers are removed."""
        mechanism = task.questions.mechanism
        self.archive(mechanism).store(_keys(task.questions), StoredShard(folder, shard, mechanism, self.spec))

    def ask(self, order: Order) -> tuple[Path, Tensor]:
        """Book a query, send it and keep its answer; return the file and the images (N, C, H, W).

        Raises:
            UserError: the budget is spent, the black box refuses, its answers are lost three times, or one is wrong.
        """
        for attempt in range(1, TRIES + 1):
            entry = self._book(order)
            try:
                return self._send(order, entry, self.book)
            except LostAnswerError:
                self._close(order, entry, State.LOST, self.book)
                if attempt == TRIES:
                    raise
            except RefusedError:
                self._close(order, entry, State.REFUSED, self.book)
                raise
            except UserError:  # a wrong answer, which was paid
                self._close(order, entry, State.LOST, self.book)
                raise
        raise AssertionError  # the last attempt returns or raises

    def _book(self, order: Order) -> Entry:
        """Write a query down, on disk, unless the budget is spent."""
        mechanism, noise, _ = order.questions
        with self._lock, FileLock(self.folder / LOCK):
            entry = Entry(self._name(), State.ASKED, mechanism, order.purpose, len(noise), order.repeat)
            self._check_budget(entry.rows)
            write_questions(_file(order.folder, ASKED, entry), order.questions)
            self.book.add(entry)
        return entry

    def _check_budget(self, rows: int) -> None:
        if self.budget is None:
            return
        books = self.books()
        spent, lost = sum(book.spent for book in books), sum(book.lost for book in books)
        if spent + rows > self.budget:
            raise BudgetSpentError(
                f"{self.folder}: {spent:,} of the budget of {self.budget:,} answers are spent, {lost:,} of them were "
                f"lost, and {rows:,} more are needed; all that came are kept: run again with a greater --budget"
            )

    def _send(self, order: Order, entry: Entry, book: Book) -> tuple[Path, Tensor]:
        """Send a query that is written down until it is answered; its answer replaces it."""
        start, path = time.monotonic(), _file(order.folder, ANSWERED, entry)
        images = self._checked(order.questions)
        if not order.repeat:
            write_answer(path, order.questions, images)
        self._close(order, entry, State.ANSWERED, book, time.monotonic() - start)
        return path, images

    def _checked(self, questions: QuestionRows) -> Tensor:
        """Send a query, again if its answer is lost and a repetition costs nothing; return the checked images."""
        for _ in range(TRIES - 1 if self.access.idempotent else 0):
            with suppress(LostAnswerError):
                return self._images(questions)
        return self._images(questions)

    def _images(self, questions: QuestionRows) -> Tensor:
        with torch.inference_mode():
            answer = self.teacher.query(*questions)
        images = check_answer(self.spec, questions.mechanism, answer, len(questions.labels))
        return images.to("cpu", torch.float32)

    def _close(self, order: Order, entry: Entry, state: State, book: Book, seconds: float = 0.0) -> None:
        """Book the outcome of a query."""
        with self._lock:
            book.add(replace(entry, state=state, seconds=round(seconds, 4)))
        _file(order.folder, ASKED, entry).unlink(missing_ok=True)

    def recover(self) -> None:
        """Finish the queries that killed processes left open: this rank's, and those of ranks that do not run now."""
        with FileLock(self.folder / LOCK):
            files = {path.stem: path for path in self.folder.rglob("ledger/*-*.safetensors")}
            for path in sorted({self.book.path, *self.folder.glob(BOOKS)}):
                if path == self.book.path:
                    self._finish_open(self.book, files)
                    continue
                with exclusive(_lock_of(path), wait=False) as free:
                    if free:
                        self._finish_open(Book(path), files)

    def _finish_open(self, book: Book, files: Mapping[str, Path]) -> None:
        book.mend()
        for entry in book.pending:
            self._finish_query(entry, book, files)
        for stem, path in files.items():  # outcomes that were booked, and queries that never were
            name = stem.removeprefix(ASKED)
            if name != stem and name.partition("-")[0] == str(rank_of(book.path)):
                path.unlink(missing_ok=True)

    def _finish_query(self, entry: Entry, book: Book, files: Mapping[str, Path]) -> None:
        """Book the answer that came, send the query again if that costs nothing, or count its answers as lost."""
        asked = files.get(f"{ASKED}{entry.query}")
        if f"{ANSWERED}{entry.query}" in files:
            book.add(replace(entry, state=State.ANSWERED))
        elif asked is not None and self.access.idempotent and not entry.repeat:
            order = Order(read_questions(asked, self.spec), asked.parent.parent, entry.purpose)
            self._send(order, entry, book)
        else:
            book.add(replace(entry, state=State.LOST))
            logger.warning(
                f"{self.folder}: {entry.rows} answers of {entry.mechanism} were on their way when a run was killed: "
                "they count as spent"
            )

    def look(self, folder: Path, questions: QuestionRows, *, noisy: bool) -> None:
        """Ask one query of a mechanism twice, unless that was done, and compare; the first answers are kept.

        Raises:
            UserError: the answers differ, or are no images; those of a black box that is paid again count as lost.
        """
        mechanism, order = questions.mechanism, Order(questions, folder, HELD_OUT)
        if any(mechanism in book.compared for book in self.books()):
            return
        first = self.answers(order)
        if self.access.idempotent and not self.archive(mechanism).is_one_query(_keys(questions)):
            return  # whose repetition would cost something
        second = self._checked(questions) if self.access.idempotent else self.ask(order._replace(repeat=True))[1]
        try:
            compare_answers(first, second, mechanism, noisy=noisy)
        except UserError:
            if not self.access.idempotent:
                self._discard(questions)
            raise
        warn_of_looks(first, mechanism)
        self.book.add(Entry(self._name(), State.COMPARED, mechanism, HELD_OUT, len(first)))

    def _discard(self, questions: QuestionRows) -> None:
        """Count the answers to these questions as lost, if any came."""
        archive = self.archive(questions.mechanism)
        for path in archive.forget(_keys(questions)):
            entry = self.book.queries[path.stem.removeprefix(ANSWERED)]
            self.book.add(replace(entry, state=State.LOST))
            path.unlink(missing_ok=True)

    def _name(self) -> str:
        return f"{self.rank.own}-{self.book.names:06d}"


@contextmanager
def open_ledger(
    teacher: Teacher,
    folder: Path,
    *,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    budget: int | None = None,
) -> Iterator[Ledger | None]:
    """Open the ledger of ``folder``, with all pairs of a teacher, and finish the queries that were left open.

    Yields None for a teacher whose answers cost nothing.

    Args:
        budget: the most answers of all ranks that may be charged; None: any number.
    """
    access = access_of(teacher)
    if access is None or not access.paid:
        yield None
        return
    with exclusive(_lock_of(folder / book_name(rank.own))):
        ledger = Ledger(teacher, access, folder, rank, budget)
        try:
            ledger.recover()
            yield ledger
        finally:
            ledger.pool.shutdown(cancel_futures=True)


def _lock_of(book: Path) -> Path:
    return book.with_name(f".{book.name}.lock")


def _keys(questions: QuestionRows) -> list[bytes]:
    return row_keys(questions.noise, questions.labels)


def _file(folder: Path, kind: str, entry: Entry) -> Path:
    return folder / "ledger" / f"{kind}{entry.query}.safetensors"
