"""Hooks on the modules of a network: there for a while, gone whatever happens, and how one of them ends a run."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


class Reached(Exception):
    """Ends a run behind all that is wanted of it; whoever put the hook on catches it."""


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Generator[None]:
    """Within, the hooks of these handles are on their modules; they are taken off at its end."""
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()
