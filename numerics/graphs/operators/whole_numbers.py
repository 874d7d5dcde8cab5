"""Whole numbers of torch wrap around where they leave their type; those of a graph never do."""

from typing import Any

import torch

from numerics.graphs.builder import Builder, kind_of

BELOW = "whole numbers of 32 bits are taken to stay below 2^31; the library's wrap around"
_CAST = {"_to_copy": 0, "to": 0, "type_as": 0, "copy": 1}  # which argument is given another type
_TWO = ("add", "sub", "rsub", "mul", "div", "floor_divide", "remainder", "maximum", "minimum",
        "eq", "ne", "lt", "le", "gt", "ge")  # fmt: skip
_OPERANDS = {**dict.fromkeys(_TWO, (0, 1)), "where": (1, 2), "masked_fill": (0, 2)}  # which are given one type


def is_narrow(builder: Builder, dtype: torch.dtype) -> bool:
    """Whether sums and products of whole numbers of a type wrap around where those of int64 do not."""
    return _is_whole(dtype) and _may_wrap(builder, dtype, torch.int64)


def wraps(builder: Builder, fx: Any, name: str) -> bool:
    """Whether an operator first turns whole numbers into a type that may not hold them.

    torch does so where it is told to, and where an operand without axes takes the type of the other one.
    """
    if name in _CAST:
        return _may_wrap(builder, fx.meta["val"].dtype, fx.args[_CAST[name]].meta["val"].dtype)
    given = [fx.args[i] for i in _OPERANDS.get(name, ()) if i < len(fx.args)]
    operands = [one.meta["val"] if isinstance(one, torch.fx.Node) else one for one in given]
    if len(operands) < 2:
        return False
    common = torch.result_type(*operands)
    if not _is_whole(common):
        return False
    held = torch.iinfo(common)
    return any(
        _may_wrap(builder, common, one.dtype) if isinstance(one, torch.Tensor) else not held.min <= one <= held.max
        for one in operands
    )


def _may_wrap(builder: Builder, wanted: torch.dtype, given: torch.dtype) -> bool:
    """Whether one type of whole numbers may not hold another; that int32 holds int64 is idealised."""
    if not _is_whole(wanted) or not _is_whole(given):
        return False
    held, needed = torch.iinfo(wanted), torch.iinfo(given)
    if held.min <= needed.min and needed.max <= held.max:
        return False
    if (wanted, given) == (torch.int32, torch.int64):
        builder.idealisations.add(BELOW)
        return False
    return True


def _is_whole(dtype: torch.dtype) -> bool:
    return kind_of(dtype) == "integer"
