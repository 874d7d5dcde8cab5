"""Lookups beyond a table: where a device would not survive one, it is raised before the device is asked.

A body that is tried is handed what it may not understand, and looks up rows that are not there. On a CPU that is an
exception, and an answer. CUDA stops with an assertion instead, some time later, and nothing more can be computed in
that process. So while a body is tried there, every lookup is looked at first.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_BY_AXIS = {  # table, axis, places
    _ATEN.gather, _ATEN.index_add, _ATEN.index_add_, _ATEN.index_copy, _ATEN.index_copy_, _ATEN.index_select,
    _ATEN.scatter, _ATEN.scatter_, _ATEN.scatter_add, _ATEN.scatter_add_,
}  # fmt: skip
_BY_PLACES = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._unsafe_index}  # table, places for each axis
_SURVIVE = ("cpu", "meta")  # their kernels raise, or there is nothing to look up


def looked_up_safely(device: torch.device) -> AbstractContextManager[Any]:
    """While it lasts, a lookup beyond a table on the device raises IndexError, as on a CPU."""
    return nullcontext() if device.type in _SURVIVE else LookupsWithin()


class LookupsWithin(TorchDispatchMode):
    """While it is entered, every lookup is looked at before it is made.

    Raises:
        IndexError: a place is none of the table.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for _table, places, least, rows in _lookups(func.overloadpacket, args):
            if places.numel() and not least <= int(places.min()) <= int(places.max()) < rows:
                raise IndexError(f"places {int(places.min())} to {int(places.max())} of a table with {rows} rows")
        return func(*args, **(kwargs or {}))


class LookupsSeen(TorchDispatchMode):
    """While it is entered, remembers the tables of so many rows that are looked up at ids (1, n), and at no others."""

    def __init__(self, ids: torch.Tensor, rows: int) -> None:
        super().__init__()
        self.tables: list[torch.Tensor] = []
        self._ids, self._rows = {*ids.flatten().tolist()}, rows

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for table, places, _least, rows in _lookups(func.overloadpacket, args):
            if table is None or not len(table) == rows == self._rows:
                continue
            if places.numel() == len(self._ids) and {*places.flatten().tolist()} == self._ids:
                self.tables.append(table)
        return func(*args, **(kwargs or {}))


def _lookups(operation: Any, args: Any) -> Iterator[tuple[Any, torch.Tensor, int, int]]:
    """The places that an operation looks at, with the least that there is and the number of rows.

    In front of them stands the table, where whole rows of it are looked up, else None.
    """
    if operation is _ATEN.embedding:
        yield args[0], args[1], 0, len(args[0])
    elif operation in _BY_AXIS:
        whole = operation is _ATEN.index_select and args[1] == 0
        yield args[0] if whole else None, args[2], 0, args[0].shape[args[1]] if args[0].ndim else 1
    elif operation in _BY_PLACES:
        axis = 0
        for places in args[1]:
            mask = places is not None and places.dtype == torch.bool  # the library compares its shape
            if places is not None and not mask:
                alone = axis == 0 and len(args[1]) == 1
                yield args[0] if alone else None, places, -args[0].shape[axis], args[0].shape[axis]
            axis += places.ndim if places is not None and mask else 1
