"""Whole numbers in int64 arrays, where every result is known to fit: numpy would wrap around without a word.

They steer an evaluation in every number system: places, lengths, counts. Before an operation its largest possible
result is worked out in Python's integers; one that int64 may not hold is `Unsupported`, never wrong.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import ENCLOSED
from proofs.errors import Unsupported
from proofs.network.graph import Number

Whole = NDArray[Any]  # of int64
LARGEST = 2**63 - 1


def is_discrete(x: Any) -> bool:
    """Whether a tensor of any number system is one of whole numbers or truth values."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "ib"


def known(x: Any) -> Whole:
    """Whole numbers or truth values that numpy is handed; Unsupported where they are none, which it would not say."""
    if not is_discrete(x):
        raise Unsupported(ENCLOSED)
    return x


def are_discrete(tensors: Sequence[Any]) -> bool:
    """Whether all tensors are of whole numbers or truth values; Unsupported where only some are."""
    kinds = {is_discrete(one) for one in tensors}
    if len(kinds) > 1:
        raise Unsupported("Expected numbers of one kind, but got whole ones beside real ones; nothing is said.")
    return kinds == {True}


def whole(values: Sequence[Number], shape: Sequence[int]) -> Whole:
    """Python's integers as an array."""
    numbers = [int(v) for v in values]
    if any(number != v for number, v in zip(numbers, values, strict=True)):
        raise Unsupported("Expected whole numbers, but got others; nothing is said.")
    _fits(max(map(abs, numbers), default=0))
    return np.array(numbers, dtype=np.int64).reshape(tuple(shape))


def discrete(values: Sequence[Number], shape: Sequence[int], kind: str) -> NDArray[Any]:
    """Whole numbers, or truth values, as an array."""
    return whole(values, shape) if kind == "integer" else np.array(values, dtype=np.bool_).reshape(tuple(shape))


def negate(x: Whole) -> Whole:
    """-x, which fits as x does: -2^63 is never made."""
    return np.asarray(-x)


def add(x: Whole, y: Whole) -> Whole:
    """x + y."""
    _fits(_reach(x) + _reach(y))
    return np.asarray(x + y)


def subtract(x: Whole, y: Whole) -> Whole:
    """x - y."""
    _fits(_reach(x) + _reach(y))
    return np.asarray(x - y)


def multiply(x: Whole, y: Whole) -> Whole:
    """x * y, entry by entry."""
    _fits(_reach(x) * _reach(y))
    return np.asarray(x * y)


def power(x: Whole, exponent: int) -> Whole:
    """x to a whole power >= 0."""
    _fits(_reach(x) ** min(exponent, 64) if _reach(x) > 1 else 1)
    return np.asarray(x**exponent)


def total(x: Whole, axes: Sequence[int], keep: bool) -> Whole:
    """The sum over some axes."""
    _fits(_reach(x) * x.size)
    return np.asarray(np.sum(x, axis=tuple(axes), keepdims=keep))


def cumulative(x: Whole, axis: int) -> Whole:
    """Partial sums along an axis."""
    _fits(_reach(x) * x.size)
    return np.cumsum(x, axis)


def quotient(x: Whole, by: int) -> Whole:
    """floor(x / by)."""
    _fits(by)
    return np.asarray(x // by)


def remainder(x: Whole, by: int) -> Whole:
    """x mod by, from 0 to by - 1."""
    _fits(by)
    return np.asarray(x % by)


def _reach(x: Whole) -> int:
    """The largest |entry|."""
    return max(int(x.max()), -int(x.min())) if x.size else 0


def _fits(size: int) -> None:
    if size > LARGEST:
        raise Unsupported("Expected whole numbers below 2^63, but the network may reach larger ones; nothing is said.")
