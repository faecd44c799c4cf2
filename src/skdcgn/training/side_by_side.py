"""Independent jobs side by side, each in a process of its own: small networks gain little from a second thread.

:class:`Processes` starts one child, which imports what the jobs need and then forks a process per worker: there is one
import, and it goes on while the caller does something else. A pipe leads to each worker. When the caller ends, however
it ends, its pipes close and the workers end at once, in the middle of a step if need be: as after a kill, the same
command continues. (A script that calls the library needs no ``if __name__ == "__main__"``, which multiprocessing asks
for; joblib's workers, which do not either, go on for a while after a killed caller.)
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, NamedTuple, Self, TypeVar

from skdcgn.base.ending import SIGNALS
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Tell, Watch, logger
from skdcgn.training.worker import Ended, Order, Report, Task

T = TypeVar("T")
LEAST_STEPS = 500  # of a mechanism; fewer are done before a process has started
OPTIMISERS = "torch._dynamo"  # every optimiser of PyTorch imports it, for a second: better once, before workers fork
PROGRAM = "import sys; sys.path[:] = sys.argv[3:]; from skdcgn.training.worker import serve; serve(*sys.argv[1:3])"


class Job(NamedTuple, Generic[T]):
    """A piece of work: its name, and a function of the caller's watch, which can be pickled together with its result.

    As ``Job("distill shape", partial(distill_job, folder, config))``.
    """

    name: str
    work: Callable[[Watch], T]


def share_of_threads(jobs: int) -> int:
    """Return the threads of each of ``jobs`` jobs, whether they run side by side or one after another.

    The bytes of a training depend on the number of its threads.
    """
    import torch

    return max(1, torch.get_num_threads() // jobs)


def run_jobs(
    jobs: Sequence[Job[T]], watch: Watch, processes: "Processes | None" = None, at_once: int | None = None
) -> list[T]:
    """Run the jobs in ``processes``, or here one after another if there are none; return the results in their order.

    An error of a job is raised here, and ends the others.
    """
    return processes.run(jobs, watch, at_once) if processes else [job.work(watch) for job in jobs]


@contextmanager
def spare_processes(
    count: int, device: str, *modules: str, started: "Processes | None" = None
) -> Iterator["Processes | None"]:
    """Yield processes for ``count`` jobs that would train on ``device`` here: those that have ``started``, or new ones.

    Yields None if they would save no time: with one thread alone, on a GPU, as one of several ranks, not on Linux.
    """
    if _saves_time(device):
        with nullcontext(started) if started else Processes(count, *modules) as processes:
            yield processes
    else:
        if started:
            started.close()
        yield None


def _saves_time(device: str) -> bool:
    import torch

    from skdcgn.training.processes import process_count
    from skdcgn.training.train import make_accelerator

    on_cpu = make_accelerator(device).device.type == "cpu"
    return _can_start() and on_cpu and process_count() == 1 and torch.get_num_threads() > 1


def _can_start() -> bool:
    """Whether workers can be forked here: on macOS that is unsafe once libraries are loaded, on Windows impossible."""
    return sys.platform == "linux" and bool(sys.executable)


@contextmanager
def early_processes(count: int, *modules: str) -> Iterator["Processes | None"]:
    """Yield processes that import while this one imports torch, or None if it will surely have one thread alone."""
    if not _can_start() or os.environ.get("OMP_NUM_THREADS") == "1" or len(os.sched_getaffinity(0)) == 1:
        yield None
    else:
        with Processes(count, *modules) as processes:
            yield processes


class Processes:
    """Worker processes, which end with the block::

        with Processes(2, "skdcgn.students.distill") as processes:
            students = run_jobs(jobs, watch, processes)

    Args:
        count: how many.
        module: that they import before their first job; further ones follow.
    """

    def __init__(self, count: int, *modules: str) -> None:
        pipes = [Pipe() for _ in range(count)]
        self.pipes, self.used = [own for own, _ in pipes], False
        theirs = [other.fileno() for _, other in pipes]
        words = ",".join(map(str, theirs)), ",".join([*modules, OPTIMISERS])
        command = [sys.executable, "-c", PROGRAM, *words, *sys.path]
        with _signals_blocked():  # for the children: they end when their pipes close
            self.child = subprocess.Popen(command, pass_fds=theirs, stdin=subprocess.DEVNULL)
        for _, other in pipes:
            other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers at once, and wait for their end."""
        for pipe in self.pipes:
            pipe.close()
        if not self.used:
            self.child.kill()  # it may still be importing
        self.child.wait()

    def run(self, jobs: Sequence[Job[T]], watch: Watch, at_once: int | None = None) -> list[T]:
        """Run the jobs, ``at_once`` or as many at once as there are processes; return the results in their order.

        Raises:
            UserError: the one of a job; or a process was killed. All processes end then, as with any other error.
        """
        try:
            self.used = True
            return _Dealer(self.pipes[:at_once], jobs, watch).results()
        except BaseException:
            self.close()
            raise


class _Dealer:
    """Gives jobs to idle workers and passes on what they report."""

    def __init__(self, pipes: Sequence[Connection], jobs: Sequence[Job[Any]], watch: Watch) -> None:
        self.jobs, self.watch = jobs, watch
        self.waiting, self.idle = list(range(len(jobs))), list(pipes)
        self.running: dict[Connection, int] = {}
        self.ended: dict[int, Any] = {}
        self.tells: dict[tuple[Connection, int], Tell] = {}

    def results(self) -> list[Any]:
        while len(self.ended) < len(self.jobs):
            while self.waiting and self.idle:
                self._give(self.idle.pop(0), self.waiting.pop(0))
            for pipe in wait(list(self.running)):
                assert isinstance(pipe, Connection)
                self._take(pipe)
        return [self.ended[number] for number in range(len(self.jobs))]

    def _give(self, pipe: Connection, number: int) -> None:
        import torch

        self.running[pipe] = number
        with self._alive(number):
            pipe.send(Order(self.jobs[number].work, torch.get_num_threads(), logger.getEffectiveLevel()))

    def _take(self, pipe: Connection) -> None:
        with self._alive(self.running[pipe]):
            message = pipe.recv()
        match message:
            case Task(number, name, total):
                self.tells[pipe, number] = self.watch(name, total)
            case Report(number, done, losses):
                self.tells[pipe, number](done, losses)
            case logging.LogRecord():
                logging.getLogger(message.name).handle(message)
            case Ended(result, error):
                if error:
                    raise error
                self.ended[self.running.pop(pipe)] = result
                self.idle.append(pipe)

    @contextmanager
    def _alive(self, number: int) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            raise UserError(
                f"{self.jobs[number].name}: its process was killed, perhaps for want of memory: run the same command "
                "again to continue, with OMP_NUM_THREADS=1 to have one process alone"
            ) from None


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
