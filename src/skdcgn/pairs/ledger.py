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
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

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
    write_answer,
    write_questions,
)
from skdcgn.pairs.book import Book, Entry, State
from skdcgn.pairs.first_look import compare_answers, warn_of_looks
from skdcgn.pairs.manifest import HELD_OUT, Purpose, Shard
from skdcgn.pairs.orders import (
    BOOKS,
    Order,
    Task,
    batches,
    book_name,
    check_budget,
    file_of,
    keys_of,
    lock_of,
    rank_of,
)

TRIES = 3  # of a query whose answers are lost
LOCK = ".ledger.lock"


logger = logging.getLogger(__name__)


class Ledger:
    """The queries of one process to a paid black box; :func:`open_ledger` opens it."""

    def __init__(self, teacher: Teacher, access: Access, folder: Path, rank: Rank, budget: int | None) -> None:
        self.teacher, self.access, self.folder, self.rank, self.budget = teacher, access, folder, rank, budget
        self.book = Book(folder / book_name(rank.own))
        self.pool = ThreadPoolExecutor(access.in_flight, "query")
        self._archives: dict[Mechanism, Archive] = {}
        self._others: dict[Path, Book] = {}
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
                book = self._others[path] = self._others.get(path) or Book(path)
                if not book.is_read:
                    book.read_on()
                books.append(book)
        return books

    def shards(
        self, tasks: Iterable[Task], folder: Path, purpose: Purpose, *, ahead: bool = True
    ) -> Iterator[tuple[Task, Tensor]]:
        """Yield each task with its images (N, C, H, W); ``ahead``: the queries of the next one are on their way."""
        waiting = deque[Task]()
        for task in tasks:
            waiting.append(task)
            self._begin(Order(task.questions, folder, purpose))
            if len(waiting) > ahead:
                yield waiting[0], self.answers(Order(waiting.popleft().questions, folder, purpose))
        while waiting:
            yield waiting[0], self.answers(Order(waiting.popleft().questions, folder, purpose))

    def answers(self, order: Order) -> Tensor:
        """Return the images (N, C, H, W); asks what no answer is there for."""
        mechanism = order.questions.mechanism
        return self.archive(mechanism).take(self._begin(order), mechanism)

    def _begin(self, order: Order) -> list[bytes]:
        """Begin to ask what no answer is there for; return the keys of all rows."""
        mechanism, noise, labels = order.questions
        archive, keys = self.archive(mechanism), keys_of(order.questions)
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
        self.archive(mechanism).store(keys_of(task.questions), StoredShard(folder, shard, mechanism, self.spec))

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
            if self.budget is not None:
                check_budget(self.folder, self.books(), self.budget, entry.rows)
            write_questions(file_of(order.folder, ASKED, entry), order.questions)
            self.book.add(entry)
        return entry

    def _send(self, order: Order, entry: Entry, book: Book) -> tuple[Path, Tensor]:
        """Send a query that is written down until it is answered; its answer replaces it."""
        start, path = time.monotonic(), file_of(order.folder, ANSWERED, entry)
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
        file_of(order.folder, ASKED, entry).unlink(missing_ok=True)

    def recover(self) -> None:
        """Finish the queries that killed processes left open: this rank's, and those of ranks that do not run now."""
        with FileLock(self.folder / LOCK):
            files = {path.stem: path for path in self.folder.rglob("ledger/*-*.safetensors")}
            for path in sorted({self.book.path, *self.folder.glob(BOOKS)}):
                if path == self.book.path:
                    self._finish_open(self.book, files)
                    continue
                with exclusive(lock_of(path), wait=False) as free:
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
        question = files.get(f"{ASKED}{entry.query}")
        if f"{ANSWERED}{entry.query}" in files:
            book.add(replace(entry, state=State.ANSWERED))
        elif question is not None and self.access.idempotent and not entry.repeat:
            order = Order(read_questions(question, self.spec), question.parent.parent, entry.purpose)
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
        if self.access.idempotent and not self.archive(mechanism).is_one_query(keys_of(questions)):
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
        for path in archive.forget(keys_of(questions)):
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
    with exclusive(lock_of(folder / book_name(rank.own))):
        ledger = Ledger(teacher, access, folder, rank, budget)
        try:
            ledger.recover()
            yield ledger
        finally:
            ledger.pool.shutdown(cancel_futures=True)
