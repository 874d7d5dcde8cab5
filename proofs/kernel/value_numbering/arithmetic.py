"""What is worked out exactly: operations on known constants, and sums and products with one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import gcd, prod
from typing import Any

import numpy as np

from proofs.kernel.value_numbering.table import MASKED, Shape, Table
from proofs.kernel.value_numbering.values import At

LARGEST_FOLDED = 2**16  # entries of a constant that is worked out
LONGEST = 2048  # bits of one

EXACT: Mapping[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y, "negate": lambda x: -x,
    "greater": lambda x, y: x > y, "at_most": lambda x, y: x <= y, "equal": lambda x, y: x == y,
    "both": lambda x, y: x and y, "either": lambda x, y: x or y, "opposite": lambda x: not x,
    "as_real": Fraction, "as_integer": int, "maximum": max, "minimum": min,
}  # fmt: skip


def folded(at: At, numbers: Sequence[int]) -> int | None:
    """The constant that an operation makes of constants; None where -inf takes part, or there are too many entries."""
    known, exact = [at.table.known[number] for number in numbers], EXACT[at.node.operation]
    inexact = any(isinstance(value, float) or _bits(value) > LONGEST for k in known for value in k.values)
    if inexact or prod(at.whole) > LARGEST_FOLDED:
        return None
    kind = at.node.type.kind
    if all(len(k.values) == 1 for k in known):
        return at.table.constant(kind, at.whole, (exact(*(k.values[0] for k in known)),))
    arrays = [np.broadcast_to(_array(k.values, k.shape), at.whole).ravel().tolist() for k in known]
    return at.table.constant(kind, at.whole, tuple(exact(*row) for row in zip(*arrays, strict=True)))


def _bits(value: Fraction | int) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _array(values: tuple[Any, ...], shape: Shape) -> Any:
    entries = np.empty(len(values), dtype=object)
    entries[:] = values
    return np.broadcast_to(entries.reshape(()), shape) if len(values) == 1 else entries.reshape(shape)


def shifted(at: At, first: int, second: int, sign: int, fits: tuple[bool, bool]) -> int:
    """first + sign second, where one of them may be a known constant; `fits`: which are of the result's shape."""
    table, operation = at.table, at.node.operation
    if first in table.known and second in table.known:
        found = folded(at, (first, second))
        masked = table.is_masked(first) and not table.is_masked(second)
        if found is None and (masked or (sign > 0 and table.is_masked(second))):
            return table.constant("real", at.whole, (MASKED,))
        return table.of(operation, first, second) if found is None else found
    if sign < 0 and first == second and all(fits) and at.node.type.kind == "real" and not table.is_masked(first):
        return table.constant("real", at.whole, (Fraction(0),))
    sides = ((first, second, 0), (second, first, 1))[: 2 if sign > 0 else 1]
    for value, other, position in sides:
        known = table.known.get(other)
        if known is None:
            continue
        if sign > 0 and known.only == MASKED:
            return table.constant("real", at.whole, (MASKED,))
        infinite = any(isinstance(entry, float) for entry in known.values)
        if infinite or at.node.type.kind != "real" or not fits[position]:
            continue
        if table.is_zero(other):
            return value
        base, before = table.shifted.get(value, (value, table.constant("real", at.whole, (Fraction(0),))))
        by = folded(at, (before, other))
        if by is not None:
            return table.shift(base, by)
    return table.of("add", *sorted((first, second))) if sign > 0 else table.of("subtract", first, second)


def product(at: At, first: int, second: int) -> int:
    """first times second, where one of them may be a known constant."""
    table = at.table
    if first in table.known and second in table.known:
        found = folded(at, (first, second))
        return table.of("multiply", first, second) if found is None else found
    for value, other in ((first, second), (second, first)):
        if table.is_zero(other):
            return table.constant(at.node.type.kind, at.whole, (Fraction(0) if at.node.type.kind == "real" else 0,))
        shift = table.shifted.get(value)
        known = table.known.get(other)
        if shift is None or known is None or known.only is None or table.known[shift[1]].shape != at.whole:
            continue
        by = folded(at, (shift[1], other))
        if by is not None:
            return table.shift(table.of("multiply", *sorted((shift[0], other))), by)
    return table.of("multiply", *sorted((first, second)))


def total(table: Table, operation: str, terms: Sequence[int], shape: Shape) -> int:
    """The sum, mean or maximum of terms of one shape: in any order, and of means and maxima without repetition."""
    counts = Counter(terms)
    if operation == "sum":
        found = _exact_sum(table, counts)
        if found is not None:
            return table.constant(table.known[terms[0]].kind, shape, (found,))
        counts = Counter({term: count for term, count in counts.items() if not table.is_zero(term)})
    elif operation == "largest":
        counts = Counter(set(terms))
    else:  # a mean
        common = gcd(*counts.values())
        counts = Counter({term: count // common for term, count in counts.items()})
    if len(counts) == 1 and next(iter(counts.values())) == 1:
        return next(iter(counts))
    return table.of(operation, frozenset(counts.items()))


def _exact_sum(table: Table, counts: Counter[int]) -> Any:
    """The sum of constants of one entry each; None where there are others, or it gets too long to be worked out."""
    found: Any = 0
    for term, count in counts.items():
        known = table.known.get(term)
        if known is None or known.only is None or isinstance(known.only, float) or _bits(found) > LONGEST:
            return None
        found += known.only * count
    return found
