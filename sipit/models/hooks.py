"""Hooks on the modules of a network: there for a while, gone whatever happens, and how one of them ends a run."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle

from proofs.threads import turn


class Reached(Exception):
    """Ends a run behind all that is wanted of it; whoever put the hook on catches it."""


@contextmanager
def hooked(put_on: Callable[[], Iterable[RemovableHandle]]) -> Generator[None]:
    """Within, the hooks that `put_on` registers are on their modules; they are taken off at its end.

    It is this thread's turn all the while: the hooks would hear the runs of other threads, and change them.
    """
    with turn:
        registered = list(put_on())
        try:
            yield
        finally:
            for handle in registered:
                handle.remove()
