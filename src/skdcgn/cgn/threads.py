"""Calls on as many threads as PyTorch may use, each with one thread of its own: whole batches side by side.

Small operations gain nothing from threads that share them. The result of a call does not depend on the threads.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Result = TypeVar("Result")


def in_threads(calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Yield the results of ``calls`` in their order, at most two calls a thread ahead of the caller."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield from (call() for call in calls)
        return
    waiting, pool = deque[Future[Result]](), _pool(os.getpid(), threads)
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        torch.set_num_threads(threads)  # for threads that begin later: a thread of the pool sets their number too


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process, which stay: what a thread draws with stays with it."""
    return ThreadPoolExecutor(threads, "compose", torch.set_num_threads, (1,))
