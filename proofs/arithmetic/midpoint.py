"""Float64 midpoints with float64 radii on whole arrays: the number system for very many prompts at once.

A real tensor is an array of doubles m and one of doubles r: the true entry lies within r of m. Every operation is a
few numpy calls, and its radius is a proved bound of what the arguments' radii and the roundings can do, whatever the
order in which BLAS adds (docs/separation.md). Plain arrays of floats are exact numbers: weights stay what they are.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import ELEMENTARY, ENCLOSED, Discrete, Enclosures, Undecided, real_entries
from proofs.arithmetic.midpoint_functions import FUNCTIONS, TINY, UNIT, UP, Floats, by_arb
from proofs.arithmetic.paired import PairedArithmetic
from proofs.arithmetic.views import view_of
from proofs.arithmetic.weight_products import MOST_TERMS, Weights, product
from proofs.arithmetic.whole import discrete, is_discrete, known
from proofs.errors import Unsupported
from proofs.network.graph import Constant

WIDE = "Expected enclosures narrow enough to go on with, but float64 radii got too wide; stop at an earlier layer."
MASKED = "Expected finite arguments, but a masked entry (-inf) reaches an operation that reads it."
LARGEST_WHOLE = 2**53  # integers up to here are doubles

Tensor = Any  # Middle; or an array of floats (exact), integers or truth values


class Middle(Enclosures):
    """Enclosures of real numbers: each true entry lies within `radius` of `mid`; `masked` marks those that are -inf."""

    __slots__ = ("masked", "mid", "radius")

    def __init__(self, mid: Floats, radius: Floats, masked: NDArray[np.bool_] | None = None) -> None:
        self.mid = np.asarray(mid)  # numpy hands out the entry of what has no axes
        self.radius = np.asarray(radius)
        self.masked = masked

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.mid.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.mid.ndim

    def moved(self, move: Callable[[Any], Any]) -> "Middle":
        """The same entries, moved about."""
        return Middle(move(self.mid), move(self.radius), None if self.masked is None else move(self.masked))


class Sign(Enclosures):
    """The truth of `difference > 0`, entry by entry, where not every enclosure decides it.

    It may be moved about, select real numbers, and be read as the reals 1 and 0; whatever else reads it is refused.
    """

    __slots__ = ("difference",)

    def __init__(self, difference: Any) -> None:
        self.difference = difference

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.difference.shape

    def __invert__(self) -> "Sign":
        raise Unsupported(ENCLOSED)


class Midpoint(PairedArithmetic):
    """Midpoint-radius arithmetic in float64."""

    def __init__(self) -> None:
        self._parts: dict[Any, tuple[NDArray[Any], Weights]] = {}
        self._constants: dict[int, tuple[Constant, Tensor]] = {}

    # Leaves

    def constant(self, value: Constant) -> Tensor:
        """A tensor of known entries, each rounded once."""
        if id(value) not in self._constants:
            self._constants[id(value)] = (value, self._constant(value))  # kept beside it, so that its id stays its own
        return self._constants[id(value)][1]

    def _constant(self, value: Constant) -> Tensor:
        if value.kind != "real":
            return discrete(value.entries(), value.shape, value.kind)
        entries = real_entries(value)
        masked = np.array([v == -math.inf for v in entries], dtype=np.bool_).reshape(value.shape)
        known = {v: (0.0, 0.0) if v == -math.inf else _rounded(Fraction(v)) for v in set(entries)}
        mid, radius = (np.array([known[v][part] for v in entries]).reshape(value.shape) for part in (0, 1))
        if masked.any():
            return Middle(mid, radius, masked)
        return Middle(mid, radius) if radius.any() else mid

    def scalar(self, value: Fraction) -> Tensor:
        """A rational number; exact where it is a double."""
        mid, radius = (np.array(part) for part in _rounded(value))
        return Middle(mid, radius) if radius else mid

    def real(self, value: Any) -> Tensor:
        """Integers or truth values, exactly; what holds 0 and 1 where an enclosure does not decide a comparison."""
        if isinstance(value, Sign):
            return self.select(value, self.scalar(Fraction(1)), self.scalar(Fraction(0)))
        _expect_doubles(value)
        return value.astype(np.float64)

    # Moving entries

    def moved(self, x: Tensor, move: Callable[[Any], Any]) -> Tensor:
        """The same entries, moved about."""
        if isinstance(x, Sign):
            return Sign(self.moved(x.difference, move))
        return x.moved(move) if isinstance(x, Middle) else move(x)

    def concatenate(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors one after the other."""
        if not any(isinstance(part, Middle) for part in parts):
            return np.concatenate(parts, axis)
        return _joined([enclosed(part) for part in parts], lambda arrays: np.concatenate(arrays, axis))

    def select(self, condition: Any, x: Tensor, y: Tensor) -> Tensor:
        """x where the condition holds, else y; of reals what holds both, where an enclosure does not decide it."""
        if isinstance(condition, Sign):
            if is_discrete(x) or is_discrete(y):
                raise Unsupported(ENCLOSED)
            return self._chosen(enclosed(condition.difference), _unmasked(x), _unmasked(y))
        condition = known(condition)
        if not (isinstance(x, Middle) or isinstance(y, Middle)):
            return np.where(condition, x, y)
        return _joined([enclosed(x), enclosed(y)], lambda arrays: np.where(condition, arrays[0], arrays[1]))

    def _chosen(self, difference: Middle, x: Middle, y: Middle) -> Middle:
        above, below = difference.mid > difference.radius, difference.mid <= -difference.radius
        half = 0.5 * x.mid + 0.5 * y.mid
        both = np.maximum(np.abs(x.mid - half) + x.radius, np.abs(y.mid - half) + y.radius) * UP + TINY
        mid = np.where(above, x.mid, np.where(below, y.mid, half))
        return Middle(mid, np.where(above, x.radius, np.where(below, y.radius, both)))

    # Arithmetic

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y; -inf where one of them is masked."""
        return self._sum_of(x, y, np.add)

    def subtract(self, x: Tensor, y: Tensor) -> Tensor:
        """x - y; -inf where x is masked."""
        if isinstance(y, Middle) and y.masked is not None:
            raise Unsupported(MASKED)
        return self._sum_of(x, y, np.subtract)

    def _sum_of(self, x: Tensor, y: Tensor, operation: Callable[[Any, Any], Any]) -> Tensor:
        a, b = enclosed(x), enclosed(y)
        mid = np.asarray(operation(a.mid, b.mid))
        radius = _rounding(mid)
        for part in (x, y):
            if isinstance(part, Middle):
                radius += part.radius
        result = _up(mid, radius)
        for part in (a, b):
            if part.masked is not None:
                masked = part.masked | (False if result.masked is None else result.masked)
                masked = np.broadcast_to(masked, mid.shape)
                result = Middle(np.where(masked, 0.0, result.mid), np.where(masked, 0.0, result.radius), masked)
        return result

    def negate(self, x: Tensor) -> Tensor:
        """-x."""
        if not isinstance(x, Middle):
            return np.asarray(-x)
        return Middle(-_unmasked(x).mid, x.radius)

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y."""
        if not isinstance(y, Middle):
            x, y = y, x
        a, b = _unmasked(x), _unmasked(y)  # of two, the exact one comes first
        mid = np.asarray(a.mid * b.mid)
        radius = _rounding(mid)
        if isinstance(y, Middle):
            radius += np.abs(a.mid) * b.radius
        if isinstance(x, Middle):
            radius += a.radius * (np.abs(b.mid) + b.radius)
        return _up(mid, radius)

    def divide(self, x: Tensor, y: Tensor) -> Middle:
        """x / y; raises Undecided where y may be 0. An exact 0 stays one: what a mask leaves of a softmax."""
        x, y = _unmasked(x), _unmasked(y)
        least = np.abs(y.mid) * (1 - UNIT) - y.radius * UP
        if not (least > TINY).all():
            raise Undecided(WIDE)
        mid = x.mid / y.mid
        radius = (x.radius + np.abs(mid) * UP * y.radius + TINY) / (least * (1 - 2 * UNIT)) + _rounding(mid)
        result = _up(mid, radius)
        zero = (x.mid == 0) & (x.radius == 0)
        if zero.any():
            result.radius[np.broadcast_to(zero, mid.shape)] = 0.0
        return result

    def power(self, x: Tensor, exponent: int) -> Tensor:
        """x to a whole power by repeated products."""
        if exponent == 0:
            return np.ones(x.shape)
        result = x
        for _ in range(exponent - 1):
            result = self.multiply(result, x)
        return result

    def matmul(self, x: Tensor, y: Tensor) -> Middle:
        """Matrix products: with weights to about one rounding, else within n u |x| |y|, whatever the order of sums."""
        a, b, terms = _unmasked(x), _unmasked(y), x.shape[-1]
        if not isinstance(y, Middle) and y.ndim == 2 and terms <= MOST_TERMS:
            weights, shape = self._weights(y), (*x.shape[:-1], y.shape[1])
            mid, radius = product(a.mid.reshape(-1, terms), weights)
            if isinstance(x, Middle):
                radius += a.radius.reshape(-1, terms) @ weights.size
            return _up(mid.reshape(shape), radius.reshape(shape), 2 * terms)
        size = np.abs(b.mid)
        radius = np.matmul(np.abs(a.mid), size * ((terms + 2) * UNIT * UP) + b.radius)
        if isinstance(x, Middle):
            radius += np.matmul(a.radius, size + b.radius)
        return _up(np.matmul(a.mid, b.mid), radius, 2 * terms)

    def _weights(self, weights: NDArray[Any]) -> Weights:
        key = view_of(weights)
        if key not in self._parts:
            self._parts[key] = (weights, Weights.of(weights.astype(np.float64)))  # kept beside them, as constants are
        return self._parts[key][1]

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """The sum over some axes, by halves, so that each entry takes part in few additions."""
        x = _unmasked(x)
        terms = math.prod(x.shape[axis] for axis in axes)
        mid, depth = x.mid, 0
        for axis in axes:
            mid, depth = _halved(mid, axis), depth + x.shape[axis].bit_length()
        if not keep:
            mid = mid.reshape([n for axis, n in enumerate(mid.shape) if axis not in axes])
        each = np.abs(x.mid) * ((depth + 2) * UNIT * UP) + x.radius
        return _up(mid, np.sum(each, axis=tuple(axes), keepdims=keep), terms)

    def cumulative_sum(self, x: Tensor, axis: int) -> Tensor:
        """Partial sums along an axis."""
        x = _unmasked(x)
        terms = x.shape[axis]
        each = np.abs(x.mid) * ((terms + 2) * UNIT * UP) + x.radius
        return _up(np.cumsum(x.mid, axis), np.cumsum(each, axis), terms)

    def apply(self, name: str, x: Tensor) -> Middle:
        """An elementary function by IEEE operations, or by Arb entry by entry; e^(-inf) = 0."""
        x = enclosed(x)
        if name not in ELEMENTARY:
            raise Unsupported(f"Expected a function with an enclosure, but got {name!r}.")
        if x.masked is not None and name != "exp":
            raise Unsupported(MASKED)
        if name == "absolute":
            return Middle(np.abs(x.mid), x.radius)
        mid, radius = np.atleast_1d(x.mid), np.atleast_1d(x.radius)  # their code writes into arrays
        found = FUNCTIONS[name](mid, radius) if name in FUNCTIONS else by_arb(name, mid, radius)
        if found is None:
            raise Undecided(WIDE)
        result = _up(np.reshape(found[0], np.shape(x.mid)), np.reshape(found[1], np.shape(x.mid)))
        if x.masked is None:
            return result
        return Middle(np.where(x.masked, 0.0, result.mid), np.where(x.masked, 0.0, result.radius))

    # Comparisons

    def shift(self, x: Tensor, axis: int) -> Floats:
        """The largest midpoint of each row, taken as that exact number."""
        x = enclosed(x)
        mid = x.mid if x.masked is None else np.where(x.masked, -math.inf, x.mid)
        largest = np.max(mid, axis=axis, keepdims=True)
        if not np.isfinite(largest).all():
            raise Undecided(WIDE)
        return largest

    def greater(self, x: Tensor, y: Tensor) -> Any:
        """x > y: truth values where the enclosures decide all of them, else a `Sign`."""
        difference = _unmasked(self.subtract(x, y))
        above = np.asarray(difference.mid > difference.radius)
        return above if (above | (difference.mid <= -difference.radius)).all() else Sign(difference)

    def top(self, x: Tensor, axis: int, count: int) -> Discrete:
        """Places of the largest entries; each must be proved larger than the next, and than all the rest."""
        x = _unmasked(x)
        places = np.argsort(-x.mid, axis=axis, kind="stable")
        mid, radius = (np.moveaxis(np.take_along_axis(part, places, axis), axis, -1) for part in (x.mid, x.radius))
        for place in range(min(count, x.shape[axis] - 1)):
            gap = mid[..., place, None] - mid[..., place + 1 :]
            if not (gap * (1 - 2 * UNIT) > (radius[..., place, None] + radius[..., place + 1 :]) * UP + TINY).all():
                raise Undecided(WIDE)
        return np.take(places, range(count), axis)

    def floor(self, x: Tensor) -> Discrete:
        """The greatest integer at most x where the enclosure decides it."""
        x = _unmasked(x)
        spread = x.radius * UP + UNIT * UP * np.abs(x.mid)
        low, high = np.floor(x.mid - spread), np.floor(x.mid + spread)
        if not ((low == high) & (np.abs(low) < LARGEST_WHOLE)).all():
            raise Undecided(WIDE)
        return np.asarray(low, dtype=np.int64)


def enclosed(x: Tensor) -> Middle:
    """A tensor as enclosures; an array of floats, or of whole numbers that are doubles, has radius 0."""
    if isinstance(x, Middle):
        return x
    _expect_doubles(x)
    mid = np.asarray(x, dtype=np.float64)
    return Middle(mid, np.broadcast_to(0.0, mid.shape))


def _expect_doubles(x: Any) -> None:
    """Raises Unsupported where whole numbers are no doubles."""
    if is_discrete(x) and x.size and not (int(x.min()) >= -LARGEST_WHOLE and int(x.max()) <= LARGEST_WHOLE):
        raise Unsupported(f"Expected integers up to {LARGEST_WHOLE}, but got larger ones; they are no doubles.")


def _rounded(value: Fraction) -> tuple[float, float]:
    try:
        mid = float(value)
    except OverflowError:
        raise Undecided(WIDE) from None
    lost = abs(value - Fraction(mid))
    return mid, math.nextafter(float(lost), math.inf) if lost else 0.0


def _rounding(mid: Floats) -> Floats:
    """What rounding to the nearest double has changed, but for underflow."""
    radius = np.abs(mid)
    radius *= UNIT
    return radius


def _halved(x: Floats, axis: int) -> Floats:
    """The sum along an axis, which is kept: no entry passes more additions than the length has binary digits."""
    rows = np.moveaxis(x, axis, -1)
    if not rows.shape[-1]:
        rows = np.zeros((*rows.shape[:-1], 1))
    while (length := rows.shape[-1]) > 1:
        half = length // 2
        sums = rows[..., :half] + rows[..., half : 2 * half]
        rows = np.concatenate((sums, rows[..., -1:]), axis=-1) if length % 2 else sums
    return np.moveaxis(rows, -1, axis)


def _up(mid: Floats, radius: Any, terms: int = 0) -> Middle:
    """The radius raised by what computing it, a sum of so many products, may have lost, and by what underflow takes."""
    radius = np.asarray(radius)
    radius *= UP + terms * 2.0**-51
    radius += TINY
    return Middle(mid, radius)


def _unmasked(x: Tensor) -> Middle:
    x = enclosed(x)
    if x.masked is not None and x.masked.any():
        raise Unsupported(MASKED)
    return x


def _joined(parts: Sequence[Middle], join: Callable[[list[Any]], Any]) -> Middle:
    masked = None
    if any(part.masked is not None for part in parts):
        masked = join([np.broadcast_to(False, p.shape) if p.masked is None else p.masked for p in parts])
    return Middle(join([part.mid for part in parts]), join([part.radius for part in parts]), masked)
