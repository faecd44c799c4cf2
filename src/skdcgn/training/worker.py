"""The processes that work for :mod:`skdcgn.training.side_by_side`: what they do, and the messages that pass."""

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, NoReturn

from skdcgn.base.errors import UserError
from skdcgn.base.progress import NO_LOSSES, Tell, Watch, logger

TELL_EVERY = 0.1  # seconds between two reports of a task to the caller


class Task(NamedTuple):
    """A worker's message: it has begun a task with a name and a total."""

    number: int
    name: str
    total: int


class Report(NamedTuple):
    """A worker's message: how much of its task is done, and the losses of the last step."""

    number: int
    done: int
    losses: Mapping[str, float]


class Ended(NamedTuple):
    """A worker's message: its job has ended with a result, or with an error."""

    result: Any = None
    error: BaseException | None = None


class Order(NamedTuple):
    """A message to a worker: a job, the threads that it would have in the caller, and the caller's level of logs."""

    work: Callable[[Watch], Any]
    threads: int
    level: int


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute in ``count`` threads in the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def serve(descriptors: str, modules: str) -> None:
    """Be the child: import the modules, then fork a worker for each descriptor of a pipe, and wait for their end."""
    from importlib import import_module

    for module in filter(None, modules.split(",")):
        import_module(module)
    pipes = [int(number) for number in descriptors.split(",")]
    for pipe in pipes:
        if os.fork() == 0:
            for other in {*pipes} - {pipe}:
                os.close(other)
            _Worker(Connection(pipe)).work()
    for pipe in pipes:
        os.close(pipe)
    for _ in pipes:
        os.wait()


class _Worker:
    """A worker's end of the pipe: it takes orders until the pipe closes."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.tasks = pipe, 0

    def work(self) -> NoReturn:
        logger.addHandler(_Forwarded(self))
        with ThreadPoolExecutor(1) as jobs:  # while a thread works, this one notices that the pipe has closed
            while True:
                try:
                    order = self.pipe.recv()
                except (EOFError, OSError):
                    os._exit(0)
                jobs.submit(self._run, order).add_done_callback(self._end)

    def _run(self, order: Order) -> Any:
        logger.setLevel(order.level)
        with threads(order.threads):
            return order.work(self._watch)

    def _end(self, job: "Future[Any]") -> None:
        error = job.exception()
        if error and not isinstance(error, UserError):  # its traceback stays here
            error.add_note("".join(traceback.format_exception(error)))
        self.send(Ended(None, error) if error else Ended(job.result()))

    def _watch(self, name: str, total: int) -> Tell:
        self.tasks += 1
        self.send(Task(self.tasks, name, total))
        return _Throttle(self, self.tasks, total).tell

    def send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:  # the caller has gone
            os._exit(0)


class _Throttle:
    """Sends the first report of a task, the last, and one in ``TELL_EVERY`` seconds."""

    def __init__(self, worker: _Worker, number: int, total: int) -> None:
        self.worker, self.number, self.total, self.sent = worker, number, total, -TELL_EVERY

    def tell(self, done: int, losses: Mapping[str, float] = NO_LOSSES, /) -> None:
        now = time.monotonic()
        if done == self.total or now - self.sent >= TELL_EVERY:
            self.worker.send(Report(self.number, done, dict(losses)))
            self.sent = now


class _Forwarded(QueueHandler):
    """Sends log records to the caller."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__(worker)  # type: ignore[arg-type]  # enqueue() alone uses it

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[attr-defined]
