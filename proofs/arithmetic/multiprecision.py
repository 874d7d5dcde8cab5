"""mpmath at a fixed precision: the independent oracle, not rigorous but right to almost all of its bits."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from proofs.arithmetic.base import Discrete, Reals
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.arithmetic.whole import whole
from proofs.network.graph import Number


class Multiprecision(ObjectArithmetic):
    """Floating point of `bits` bits in a context of its own, so that no global precision is touched."""

    def __init__(self, bits: int = 256) -> None:
        self.context = mpmath.MPContext()
        self.context.prec = bits

    def number(self, value: Number) -> Any:
        """A rational, rounded once; an infinity as itself."""
        if isinstance(value, float):
            return self.context.mpf(value)
        fraction = Fraction(value)
        return self.context.mpf(fraction.numerator) / fraction.denominator

    def elementary(self, name: str) -> Callable[[Any], Any]:
        """An elementary function of one number."""
        mp = self.context
        written: dict[str, Callable[[Any], Any]] = {
            "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
            "softplus": lambda x: mp.log1p(mp.exp(x)),
            "rsqrt": lambda x: 1 / mp.sqrt(x),
        }
        return written.get(name) or getattr(mp, name)

    def shift(self, x: Reals, axis: int) -> Reals:
        """The largest entry of each row."""
        return np.max(x, axis=axis, keepdims=True)

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """x > y."""
        return np.asarray(np.frompyfunc(lambda a, b: a > b, 2, 1)(x, y), dtype=np.bool_)

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Places of the largest entries of each row."""
        return self.slice(np.argsort(-x, axis=axis, kind="stable"), axis, 0, count, 1)

    def floor(self, x: Reals) -> Discrete:
        """The greatest integer at most x."""
        return whole([int(self.context.floor(a)) for a in np.ravel(x)], np.shape(x))
