"""Processes forked off this one: they find what is large in its memory, and only small tasks are sent to them."""

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from proofs.threads import turn

_FEW = 4  # processes that are made if they are asked for, however few processors there are
_work: list[Any] = []  # in a forked process, which has one task alone: the subject and the task; elsewhere empty
_Subject = TypeVar("_Subject")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_fork() -> bool:
    """Whether the system can."""
    return "fork" in multiprocessing.get_all_start_methods()


def in_order(
    subject: _Subject, task: Callable[[_Subject, _Item], _Result], items: Iterable[_Item], workers: int
) -> Iterator[_Result]:
    """`task` of the subject and every item, in order. One worker is this process itself.

    Raises:
        MemoryError: a process was ended from outside, as the system does where memory is short.
    """
    if workers < 2 or not can_fork():
        yield from (task(subject, item) for item in items)
    else:
        yield from _shared_out(subject, task, items, min(workers, max(_FEW, processors())))


def _shared_out(subject: Any, task: Callable[[Any, Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, context, _forked, (subject, task)) as pool:
        with turn, warnings.catch_warnings():  # they only run integers, BLAS and Arb, which hold no lock but this one
            warnings.simplefilter("ignore", DeprecationWarning)
            waiting = deque(pool.submit(_done, item) for item in items)
        own = [*pool._processes.values()]  # pyright: ignore[reportPrivateUsage] - active_children() has others' too
        try:
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise MemoryError("a process that shared the work was ended from outside") from None
        except BaseException:  # an error or an interruption, or nobody wants the rest: what has begun is ended
            for process in own:
                process.terminate()
            raise


def _forked(subject: Any, task: Callable[[Any, Any], Any]) -> None:
    """Remembers the work. An interruption is for the process that forked, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work[:] = subject, task


def _done(item: Any) -> Any:
    subject, task = _work
    return task(subject, item)
