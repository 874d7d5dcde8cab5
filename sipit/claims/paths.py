"""The leaves of a record by their dotted paths, divided as `verify` divides them, and the same in short."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

ROOM = 8_000_000  # characters of paths, so that no file of long names above long lists fills the memory
LEVELS = 8  # of a path in short; what lies deeper is shown whole


def by_leaf(record: Any, derived: list[str], other: list[str], *, room: int = ROOM) -> tuple[list[str], list[str]]:
    """Two lists of paths that divide a record, with the leaves at or below each path in its place.

    An empty list or object is a leaf. A path below which there are more than there is room for stands for them.
    """
    lists: tuple[list[str], list[str]] = ([], [])
    roots = {**dict.fromkeys(derived, 0), **dict.fromkeys(other, 1)}
    for root, value in _walk("", record, roots):
        if root in roots:
            listed = _leaves(root, value, room)
            room -= sum(map(len, listed))
            lists[roots[root]].extend(listed)
    return lists


def in_short(paths: Iterable[str], others: Iterable[str]) -> list[str]:
    """The paths nearest to the top that stand for all of some, and for none of the others."""
    above = {name for path in others for name in _onwards(path)}
    return list(dict.fromkeys(next((name for name in _onwards(path) if name not in above), path) for path in paths))


def _leaves(root: str, value: Any, room: int) -> list[str]:
    """The leaves at or below a path, or the path alone where the paths are longer than there is room for."""
    found: list[str] = []
    for path, held in _walk(root, value):
        room -= len(path)
        if room < 0:
            return [root]
        if not _branches(held):
            found.append(path)
    return found


def _walk(path: str, value: Any, roots: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """A path and all below it with its value, in the order of the record; nothing below one of the roots."""
    open_ = [iter([(path, value)])]  # no recursion: a file may be nested deeper than Python calls
    while open_:
        for found in open_[-1]:
            yield found
            if found[0] not in roots and _branches(found[1]):
                open_.append(_below(*found))
                break
        else:
            open_.pop()


def _branches(value: Any) -> bool:
    return isinstance(value, Mapping | list) and bool(value)


def _below(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    named = value.items() if isinstance(value, Mapping) else enumerate(value)
    return ((f"{path}.{name}".removeprefix("."), held) for name, held in named)


def _onwards(path: str) -> Iterator[str]:
    """What stands for a path, from the top on, and itself."""
    return accumulate(path.split(".", LEVELS), "{}.{}".format)
