"""Processes forked off this one: they find what is large in its memory, and only small tasks are sent to them."""

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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
    """`task` of every item, in order; it finds `subject` by `shared()`. One worker is this process itself.

    Raises:
        MemoryError: a process was ended from outside, as the system does where memory is short.
    """
    _shared.append(subject)
    try:
        if workers < 2 or not can_fork():
            yield from map(task, items)
        else:
            yield from _shared_out(task, items, min(workers, max(_FEW, processors())))
    finally:
        _shared.pop()


def _shared_out(task: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _unbothered) as pool:
        with warnings.catch_warnings():  # they only run integers, BLAS and Arb, none of which holds a lock here
            warnings.simplefilter("ignore", DeprecationWarning)
            waiting = deque(pool.submit(task, item) for item in items)
        try:
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise MemoryError("a process that shared the work was ended from outside") from None
        except BaseException:  # an error or an interruption, or nobody wants the rest: what has begun is ended
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


def _unbothered() -> None:
    """An interruption is for the process that forked, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
