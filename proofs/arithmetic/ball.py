"""Arb balls: every number is a midpoint and a radius that holds the true value."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Self

import flint
import numpy as np

from proofs.arithmetic.base import Discrete, Reals, Undecided
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.arithmetic.views import View, view_of
from proofs.arithmetic.whole import whole
from proofs.errors import InvalidInput
from proofs.network.graph import Number
from proofs.threads import turn

LARGE = 4096  # entries of a matrix that is made once for all places of a product
BEYOND = 64  # bits of an integer that no tensor of whole numbers holds
UNDECIDED = "Expected enclosures narrow enough to compare, but got overlapping ones; raise the number of bits."


class Balls(ObjectArithmetic):
    """Ball arithmetic of a fixed number of bits.

    Use it as a context manager: Arb's precision is one for the process, and is set on entering and restored on leaving.
    Threads take turns.
    """

    def __init__(self, bits: int = 128) -> None:
        if bits < 24:
            raise InvalidInput(f"Expected at least 24 bits, but got bits={bits}; raise them.")
        self.bits = bits
        self._outside = 0

    def __enter__(self) -> Self:
        turn.acquire()
        self._outside = flint.ctx.prec
        flint.ctx.prec = self.bits
        return self

    def __exit__(self, *exception: object) -> None:
        flint.ctx.prec = self._outside
        turn.release()

    def number(self, value: Number) -> flint.arb:
        """A rational as the narrowest ball; an infinity as itself."""
        if isinstance(value, float):
            return flint.arb(str(value))
        fraction = Fraction(value)
        return flint.arb(flint.fmpq(fraction.numerator, fraction.denominator))

    def elementary(self, name: str) -> Callable[[Any], Any]:
        """An elementary function of one ball."""
        return _ELEMENTARY[name]

    def matmul(self, x: Reals, y: Reals) -> Reals:
        """Matrix products by Arb's own matrices, which are several times faster than a loop."""
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        left = np.broadcast_to(x, (*batch, *x.shape[-2:]))
        right = np.broadcast_to(y, (*batch, *y.shape[-2:]))
        result = np.empty((*batch, x.shape[-2], y.shape[-1]), dtype=object)
        if 0 in x.shape[-2:] or 0 in result.shape:
            result[...] = flint.arb(0)
            return result
        matrices: dict[View | None, flint.arb_mat] = {}
        for place in np.ndindex(*batch):
            first, second = (_matrix(part[place], matrices) for part in (left, right))
            result[place] = np.array((first * second).entries(), dtype=object).reshape(result.shape[-2:])
        return result

    def shift(self, x: Reals, axis: int) -> Reals:
        """The largest midpoint of each row, exactly."""
        middle = np.frompyfunc(lambda b: b.mid(), 1, 1)(x)
        return np.max(middle, axis=axis, keepdims=True)

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """x > y where the enclosure of the difference decides it."""
        return np.asarray(np.frompyfunc(_greater, 2, 1)(x, y), dtype=np.bool_)

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Places of the largest entries; neighbours in the order must be decided, or be the same exact number."""
        middle = np.frompyfunc(lambda b: b.mid(), 1, 1)(x)
        places = np.argsort(-middle, axis=axis, kind="stable")
        ordered = np.take_along_axis(x, places, axis)
        last = min(count, x.shape[axis] - 1)
        first, second = (self.slice(ordered, axis, start, start + last, 1) for start in (0, 1))
        if not np.all(np.frompyfunc(_in_order, 2, 1)(first, second)):
            raise Undecided(UNDECIDED)
        # Beyond the chosen ones the order by midpoints need not hold: each must be proved smaller than the last chosen.
        rest = self.slice(ordered, axis, count, x.shape[axis], 1)
        if not np.all(np.frompyfunc(_in_order, 2, 1)(self.slice(ordered, axis, count - 1, count, 1), rest)):
            raise Undecided(UNDECIDED)
        return self.slice(places, axis, 0, count, 1)

    def floor(self, x: Reals) -> Discrete:
        """The greatest integer at most x where the enclosure decides it."""
        return whole([_floor(b) for b in np.ravel(x)], np.shape(x))

    def midpoints(self, x: Reals) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """The midpoints, rounded to double."""
        return np.asarray(np.frompyfunc(lambda b: float(b.mid()), 1, 1)(x), dtype=np.float64)

    def radius(self, x: Reals) -> float:
        """The largest radius, rounded up to double."""
        return max((float(b.rad().upper()) for b in np.ravel(x)), default=0)


def _matrix(block: Any, cache: dict[View | None, Any]) -> Any:
    """A block as a matrix; a large one is made once."""
    key = view_of(block) if block.size > LARGE else None
    if key in cache:
        return cache[key]
    matrix = flint.arb_mat(block.shape[0], block.shape[1], list(block.ravel()))
    if key is not None:
        cache[key] = matrix
    return matrix


def _in_order(x: Any, y: Any) -> bool:
    return bool(x > y) or (x.is_exact() and y.is_exact() and bool(x == y))


def _greater(x: Any, y: Any) -> bool:
    difference = x - y
    if difference > 0:
        return True
    if difference <= 0:
        return False
    raise Undecided(UNDECIDED)


def integer_in(x: Any, bits: int) -> int | None:
    """The one integer in a ball, if it is below 2^bits in size; None where there is none, or none is known.

    The size is looked at first: of an integer that no memory holds FLINT makes no exception, it ends the process.
    """
    found = x.unique_fmpz() if abs(x) < flint.arb((1, bits)) else None
    return None if found is None else int(found)


def _floor(x: Any) -> int:
    found = integer_in(x.floor(), BEYOND)
    if found is None:
        raise Undecided(UNDECIDED)
    return found


def _softplus(x: Any) -> Any:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


_ELEMENTARY: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.expm1(),
    "log": lambda x: x.log(),
    "log1p": lambda x: x.log1p(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: ((x / 2).tanh() + 1) / 2,
    "softplus": _softplus,
    "erf": lambda x: x.erf(),
    "erf_slope": lambda x: (-(x * x)).exp() * flint.arb.pi().rsqrt() * 2,
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.rsqrt(),
}
