"""Number systems whose numbers are Python objects in numpy arrays: the structure is numpy's, the numbers are theirs."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.base import Arithmetic, Discrete, Reals, real_entries, taken
from proofs.arithmetic.whole import discrete, known
from proofs.network.graph import Constant, Number


class ObjectArithmetic(Arithmetic):
    """Tensors are numpy arrays of dtype object; arithmetic signs are those of the numbers."""

    @abstractmethod
    def number(self, value: Number) -> Any:
        """An exact rational or an infinity as a number of the system."""

    @abstractmethod
    def elementary(self, name: str) -> Callable[[Any], Any]:
        """An elementary function of one number."""

    def constant(self, value: Constant) -> Any:
        """A tensor of known entries."""
        if value.kind != "real":
            return discrete(value.entries(), value.shape, value.kind)
        entries, numbers = real_entries(value), {v: self.number(v) for v in set(value.values)}
        return _array([numbers[v] for v in entries], value.shape)

    def scalar(self, value: Fraction) -> Reals:
        """A rational number as a tensor without axes."""
        return _array([self.number(value)], ())

    def real(self, value: Discrete) -> Reals:
        """Integers or truth values as real numbers."""
        return _array([self.number(int(v)) for v in value.ravel()], value.shape)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """The same entries in another shape."""
        return x.reshape(tuple(shape))

    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """Axes in another order."""
        return np.transpose(x, tuple(order))

    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        """Repeated along axes of size one."""
        return np.broadcast_to(x, tuple(shape))

    def slice(self, x: Any, axis: int, start: int, stop: int, step: int) -> Any:
        """Every step-th entry along one axis."""
        return x[(slice(None),) * axis + (slice(start, stop, step),)]

    def concatenate(self, parts: Sequence[Any], axis: int) -> Any:
        """Tensors one after the other."""
        return np.concatenate(parts, axis)

    def take(self, x: Any, index: Discrete, axis: int) -> Any:
        """Entries along an axis by index."""
        return taken(x, index, axis)

    def gather(self, x: Any, index: Discrete, axis: int) -> Any:
        """One entry per index; the other axes are cut to those of the index."""
        cut = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))
        return np.take_along_axis(x[cut], index, axis)

    def select(self, condition: Discrete, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""
        return np.where(known(condition), x, y)

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return _as_array(x + y)

    def subtract(self, x: Any, y: Any) -> Any:
        """x - y."""
        return _as_array(x - y)

    def multiply(self, x: Any, y: Any) -> Any:
        """x * y."""
        return _as_array(x * y)

    def divide(self, x: Reals, y: Reals) -> Reals:
        """x / y."""
        return _as_array(x / y)

    def negate(self, x: Any) -> Any:
        """-x."""
        return _as_array(-x)

    def power(self, x: Any, exponent: int) -> Any:
        """x to a whole power by squaring; Arb's own power is no number where a ball holds 0."""
        if exponent < 2:
            return x if exponent else self.constant_like(Fraction(1), x.shape)
        half = self.power(x, exponent // 2)
        square = self.multiply(half, half)
        return self.multiply(square, x) if exponent % 2 else square

    def matmul(self, x: Reals, y: Reals) -> Reals:
        """Matrix products over the last two axes."""
        return np.matmul(x, y)

    def sum(self, x: Any, axes: Sequence[int], keep: bool) -> Any:
        """The sum over some axes."""
        return _as_array(np.sum(x, axis=tuple(axes), keepdims=keep))

    def cumulative_sum(self, x: Any, axis: int) -> Any:
        """Partial sums along an axis."""
        return np.cumsum(x, axis)

    def apply(self, name: str, x: Reals) -> Reals:
        """An elementary function, entry by entry."""
        return _as_array(np.frompyfunc(self.elementary(name), 1, 1)(x))


def _array(numbers: Sequence[Any], shape: tuple[int, ...]) -> Reals:
    result = np.empty(len(numbers), dtype=object)
    result[:] = numbers
    return result.reshape(shape)


def _as_array(value: Any) -> Any:
    """numpy hands back a bare number where no axis is left."""
    return (
        value if isinstance(value, np.ndarray) else _array([value], ()) if not np.isscalar(value) else np.asarray(value)
    )
