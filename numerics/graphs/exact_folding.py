"""Constants that are computed while a graph is built, where double precision holds the result exactly."""

from fractions import Fraction
from typing import Any

import torch

from numerics.graphs.builder import Complex, Term, is_complex, parts_of

# Operators whose float results double precision holds exactly, given exact arguments.
_MOVES = {
    "full", "zeros", "ones", "empty", "full_like", "zeros_like", "ones_like", "scalar_tensor", "arange", "where",
    "masked_fill", "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "permute", "transpose", "t",
    "clone", "alias", "detach", "contiguous", "_to_copy", "to", "slice", "select", "cat", "stack", "index", "embedding",
    "index_select", "gather", "neg", "abs", "tril", "triu", "flip", "lift_fresh_copy", "constant_pad_nd", "repeat",
    "split_with_sizes", "minimum", "maximum", "clamp", "copy", "slice_scatter", "select_scatter", "scatter", "unbind",
    "split", "chunk", "view_copy", "new_full", "new_zeros", "new_ones",
}  # fmt: skip
_WHOLE_NUMBERS = {"cumsum", "sum"}  # exact on floats that hold whole numbers
_EXACT_IF_CHECKED = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}
_LARGEST_CHECKED = 2**14  # entries of a float constant that are compared with exact arithmetic
_COMPARISONS = {"le", "lt", "ge", "gt", "eq", "ne", "_to_copy", "to", "isneginf", "any", "all", "logical_not"}


def fold(fx: Any, name: str, arguments: Any, keywords: Any, value: Any) -> Any:
    """The result on the CPU where nothing but known constants enters and it is exact, else None."""
    operands = [a for group in (*arguments, *keywords.values()) for a in parts_of(group)]
    if value is None or any(isinstance(a, Term | Complex) for a in operands) or is_complex(value):
        return None
    floating = any(isinstance(p, torch.Tensor) and p.dtype.is_floating_point for p in parts_of(value))
    if undetermined(fx.target):
        return None
    if floating and name not in _MOVES and not _exactly(name, arguments, keywords):
        return None
    inexact = any(isinstance(a, torch.Tensor) and a.dtype.is_floating_point for a in operands)
    if not floating and inexact and name not in _COMPARISONS:
        return None  # rounding of an inexact float decides an integer: leave it to a lemma
    if "device" in keywords:
        keywords = {**keywords, "device": "cpu"}
    if keywords.get("dtype") is not None and keywords["dtype"].is_floating_point:
        keywords = {**keywords, "dtype": torch.float64}
    with torch.no_grad():
        result = fx.target(*arguments, **keywords)
    return [_double(part) for part in result] if isinstance(result, list | tuple) else _double(result)


def undetermined(target: Any) -> bool:
    """Whether an operator gives whatever stood in memory, or another draw at every call."""
    return "empty" in str(target) or torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.dtype.is_floating_point else value


def _exactly(name: str, arguments: Any, keywords: Any) -> bool:
    """Whether a sum, difference or product of constants is exact in double precision; -inf stays -inf."""
    if name in _WHOLE_NUMBERS:
        return bool((arguments[0] == arguments[0].round()).all() and arguments[0].abs().sum() < 2**53)
    rule = _EXACT_IF_CHECKED.get(name)
    if rule is None or len(arguments) != 2 or "alpha" in keywords:
        return False
    first, second = (torch.as_tensor(a, dtype=torch.float64) for a in arguments)
    if max(first.numel(), second.numel()) > _LARGEST_CHECKED:
        return False
    result = rule(first, second)
    pairs = zip(*(t.expand_as(result).reshape(-1).tolist() for t in (first, second, result)), strict=True)
    lowest = torch.finfo(torch.float32).min
    return all(
        r == r and (r <= lowest or (abs(r) != float("inf") and rule(Fraction(a), Fraction(b)) == Fraction(r)))
        for a, b, r in set(pairs)
    )
