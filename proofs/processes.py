"""Processes forked off this one: they find what is large in its memory, and only small tasks are sent to them."""

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_shared: list[Any] = []
_FEW = 4  # processes that are made if they are asked for, however few processors there are


def shared() -> Any:
    """Within a task: what its pool was made with."""
    return _shared[-1]


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_fork() -> bool:
    """Whether the system can."""
    return "fork" in multiprocessing.get_all_start_methods()


def in_order(subject: Any, task: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """`task` of every item, in order; it finds `subject` by `shared()`. One worker is this process itself."""
    if workers < 2 or not can_fork():
        _shared.append(subject)
        try:
            yield from map(task, items)
        finally:
            _shared.pop()
        return
    with Pool(subject, workers) as pool:
        yield from pool.imap(task, items)


def _unbothered() -> None:
    """An interruption is for the process that forked, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Pool:
    """A pool of processes forked off with a subject."""

    def __init__(self, subject: Any, workers: int) -> None:
        _shared.append(subject)
        with warnings.catch_warnings():  # they only run integers, BLAS and Arb, none of which holds a lock here
            warnings.simplefilter("ignore", DeprecationWarning)
            count = min(workers, max(_FEW, processors()))
            self._pool = multiprocessing.get_context("fork").Pool(count, initializer=_unbothered)

    def __enter__(self) -> Any:
        return self._pool

    def __exit__(self, *exception: object) -> None:
        if exception == (None, None, None):
            self._pool.close()  # all is done, and they end by themselves
        else:
            self._pool.terminate()
        self._pool.join()
        _shared.pop()
