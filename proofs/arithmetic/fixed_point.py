"""Exact fixed point with an error radius for every entry: the number system of certificates at real sizes.

A real tensor is an array of integers m and one of radii r, both in units of 2^-bits: the true entry lies within r of
m. Sums and products of integers are exact (`limbs`), so an operation adds only the one unit that its final shift cuts
off, and carries the radii of its arguments by the bounds proved in docs/separation.md. Weights stay the floats they
are; a product with them is exact. Radii are doubles, rounded up.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Discrete, Enclosures, Undecided, real_entries
from proofs.arithmetic.fixed_functions import FUNCTIONS, Evaluated
from proofs.arithmetic.limbs import Floats, Integers, Slices, product, product_with_slices, slices_of
from proofs.arithmetic.paired import PairedArithmetic
from proofs.arithmetic.views import view_of
from proofs.arithmetic.whole import discrete, is_discrete, known, whole
from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import Constant

SMALLEST, LARGEST = 48, 960  # bits; a number of 960 bits and a size below 2^60 is still a double
UP = 1 + 2.0**-40  # more than a few operations on doubles >= 0 can lose
LONGEST_RATIO = 4096  # bits of the numbers of a known ratio; a longer one is an enclosure like any other
CUT = 1 + 2.0**-30  # one unit that a shift cuts off, and what adding it to a radius may round away
WIDE = "Expected enclosures narrow enough to decide on, but got too wide ones; raise the number of bits."


class Fixed(Enclosures):
    """Enclosures of real numbers: `mantissa` of Python integers, `radius` of doubles, in units of 2^-bits.

    `masked` marks entries that are -inf (None: there are none); `ratio` is the exact value of a tensor without axes,
    where it is known.
    """

    __slots__ = ("_size", "mantissa", "masked", "radius", "ratio")

    def __init__(
        self,
        mantissa: Integers | int,  # numpy hands out the entry of what has no axes
        radius: Floats,
        masked: NDArray[np.bool_] | None = None,
        ratio: Fraction | None = None,
    ) -> None:
        self.mantissa = mantissa if isinstance(mantissa, np.ndarray) else integers([mantissa], ())
        self.radius = np.asarray(radius)
        self.masked = masked
        self.ratio = ratio
        self._size: Floats | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.mantissa.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.mantissa.ndim

    @property
    def size(self) -> Floats:
        """|mantissa| in units, rounded up to double."""
        if self._size is None:
            try:
                self._size = np.abs(self.mantissa.astype(np.float64)) * UP
            except OverflowError:
                raise Undecided(WIDE) from None
        return self._size

    def moved(self, move: Callable[[Any], Any]) -> "Fixed":
        """The same entries, moved about."""
        masked = None if self.masked is None else move(self.masked)
        return Fixed(move(self.mantissa), move(self.radius), masked)


Sliced = dict[Any, tuple[NDArray[Any], Slices]]
Tensor = Any  # Fixed; or an array of floats (weights, exact), integers or truth values


class FixedPoint(PairedArithmetic):
    """Fixed-point numbers with `bits` bits after the point.

    `sliced` keeps the cut weights between evaluations; it may be shared among objects of any number of bits.
    """

    def __init__(self, bits: int, sliced: Sliced | None = None) -> None:
        if not SMALLEST <= bits <= LARGEST:
            raise InvalidInput(
                f"Expected from {SMALLEST} to {LARGEST} bits, but got bits={bits}; choose such a number."
            )
        self.bits = bits
        self.unit = 2.0**-bits
        self._sliced: Sliced = {} if sliced is None else sliced

    # Leaves

    def constant(self, value: Constant) -> Tensor:
        """A tensor of known entries, cut to `bits` bits."""
        if value.kind != "real":
            return discrete(value.entries(), value.shape, value.kind)
        entries = real_entries(value)
        masked = np.array([v == -math.inf for v in entries], dtype=np.bool_).reshape(value.shape)
        finite = [Fraction(0) if v == -math.inf else Fraction(v) for v in entries]
        result = self._rationals(finite, value.shape)
        if masked.any():
            result.masked = masked
        elif not value.shape:
            result.ratio = finite[0]
        return result

    def scalar(self, value: Fraction) -> Fixed:
        """A rational number; it stays exact in products."""
        result = self._rationals([value], ())
        result.ratio = value
        return result

    def real(self, value: Discrete) -> Fixed:
        """Integers or truth values, exactly."""
        mantissa = integers([int(v) << self.bits for v in value.ravel()], value.shape)
        return Fixed(mantissa, np.zeros(value.shape))

    def fixed(self, x: Tensor) -> Fixed:
        """A tensor of weights as fixed-point numbers; those that need more bits are cut. Whole numbers are exact."""
        if isinstance(x, Fixed):
            return x
        if is_discrete(x):
            return self.real(x)
        fraction, exponent = np.frexp(x.astype(np.float64))
        if not np.isfinite(fraction).all():
            raise InvalidInput("Expected finite weights, but got an infinity or NaN; the file is damaged.")
        whole, shift = (fraction * 2.0**53).astype(np.int64), exponent + (self.bits - 53)
        values = [m << s if s >= 0 else m >> -s for m, s in zip(whole.ravel().tolist(), shift.ravel().tolist())]  # noqa: B905 - of one array
        scaled = np.ldexp(fraction, 53 + np.minimum(shift, 0))
        lost = scaled != np.rint(scaled)
        return Fixed(integers(values, x.shape), lost.astype(np.float64))

    def _rationals(self, values: Sequence[Fraction], shape: Sequence[int]) -> Fixed:
        scale = 1 << self.bits
        known = {v: divmod(v.numerator * scale, v.denominator) for v in set(values)}
        mantissa = integers([known[v][0] for v in values], shape)
        radius = np.array([known[v][1] != 0 for v in values], dtype=np.float64).reshape(tuple(shape))
        return Fixed(mantissa, radius)

    # Moving entries

    def moved(self, x: Tensor, move: Callable[[Any], Any]) -> Tensor:
        """The same entries, moved about."""
        return x.moved(move) if isinstance(x, Fixed) else move(x)

    def concatenate(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors one after the other."""
        if not any(isinstance(part, Fixed) for part in parts):
            return np.concatenate(parts, axis)
        fixed = [self.fixed(part) for part in parts]
        return _joined(fixed, lambda arrays: np.concatenate(arrays, axis))

    def select(self, condition: Discrete, x: Tensor, y: Tensor) -> Tensor:
        """x where the condition holds, else y."""
        condition = known(condition)
        if not (isinstance(x, Fixed) or isinstance(y, Fixed)):
            return np.where(condition, x, y)
        return _joined([self.fixed(x), self.fixed(y)], lambda arrays: np.where(condition, arrays[0], arrays[1]))

    # Arithmetic

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y; -inf where one of them is masked."""
        x, y = self.fixed(x), self.fixed(y)
        masked = None
        if x.masked is not None or y.masked is not None:
            masked = _mask(x) | _mask(y)
        return Fixed(x.mantissa + y.mantissa, (x.radius + y.radius) * UP, masked)

    def subtract(self, x: Tensor, y: Tensor) -> Tensor:
        """x - y."""
        return self.add(x, self.negate(y))

    def negate(self, x: Tensor) -> Tensor:
        """-x."""
        x = _unmasked(self.fixed(x))
        return Fixed(-x.mantissa, x.radius, ratio=None if x.ratio is None else -x.ratio)

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y, one unit cut off; a factor that is known as a rational is exact."""
        x, y = _unmasked(self.fixed(x)), _unmasked(self.fixed(y))
        if x.ratio is not None:
            x, y = y, x
        if y.ratio is not None:
            return self._scaled(x, y.ratio)
        cross = x.size * (y.radius * self.unit) + (y.size + y.radius) * (x.radius * self.unit)
        return Fixed((x.mantissa * y.mantissa) >> self.bits, cross * UP + CUT)

    def _scaled(self, x: Fixed, ratio: Fraction) -> Fixed:
        by = ratio.denominator
        shift = by.bit_length() - 1
        product = x.mantissa * ratio.numerator
        product = product >> shift if by == 1 << shift else product // by
        try:
            radius = x.radius * (abs(float(ratio)) * UP) * UP + CUT
        except OverflowError:
            raise Undecided(WIDE) from None
        return _told(Fixed(product, radius, ratio=None if x.ratio is None else _short(x.ratio * ratio)))

    def divide(self, x: Tensor, y: Tensor) -> Fixed:
        """x / y; raises Undecided where y may be 0."""
        x, y = _unmasked(self.fixed(x)), _unmasked(self.fixed(y))
        if y.ratio:
            return self._scaled(x, 1 / y.ratio)
        least = (y.size / UP**2 - y.radius) * self.unit  # a lower bound of |y|
        if not (least > 0).all():
            raise Undecided(WIDE)
        quotient = np.asarray((x.mantissa << self.bits) // y.mantissa, dtype=object)
        result = _told(Fixed(quotient, np.zeros(quotient.shape)))
        size = result.size * self.unit + self.unit
        return Fixed(quotient, (x.radius + size * y.radius) / least * UP + CUT)

    def power(self, x: Tensor, exponent: int) -> Tensor:
        """x to a whole power by repeated products."""
        if exponent == 0:
            return self.constant_like(Fraction(1), x.shape)
        result = x = self.fixed(x)
        for _ in range(exponent - 1):
            result = self.multiply(result, x)
        return result

    def matmul(self, x: Tensor, y: Tensor) -> Fixed:
        """Matrix products: with weights by slices, of two computed tensors by limbs; exact but for one shift."""
        if isinstance(y, np.ndarray) and y.ndim == 2:
            return self._with_weights(_unmasked(self.fixed(x)), y)
        if isinstance(x, np.ndarray) and x.ndim == 2 and y.ndim == 2:
            swapped = self._with_weights(_unmasked(self.fixed(self.permute(y, (1, 0)))), x.T)
            return self.permute(swapped, (1, 0))
        x, y = _unmasked(self.fixed(x)), _unmasked(self.fixed(y))
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (part.moved(_broadcast(batch)) for part in (x, y))
        cross = x.size @ (y.radius * self.unit) + (x.radius * self.unit) @ (y.size + y.radius)
        return Fixed(product(x.mantissa, y.mantissa) >> self.bits, cross * _up(x.shape[-1]) + CUT)

    def _with_weights(self, x: Fixed, weights: NDArray[Any]) -> Fixed:
        rows = x.moved(lambda a: a.reshape(-1, a.shape[-1]))
        slices = self._slices(weights)
        exact = product_with_slices(rows.mantissa, slices)
        shift = slices.last_scale
        mantissa = exact >> shift if shift >= 0 else exact << -shift
        radius = (rows.radius @ np.abs(weights.astype(np.float64))) * _up(len(weights)) + CUT
        return _told(Fixed(mantissa, radius).moved(lambda a: a.reshape(*x.shape[:-1], weights.shape[1])))

    def _slices(self, weights: NDArray[Any]) -> Slices:
        key = view_of(weights)
        if key not in self._sliced:
            self._sliced[key] = (weights, slices_of(weights))  # kept beside them, so that its address stays its own
        return self._sliced[key][1]

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """The sum over some axes."""
        x = _unmasked(self.fixed(x))
        if not axes:
            return x
        mantissa = np.sum(x.mantissa, axis=tuple(axes), keepdims=keep)
        radius = np.sum(x.radius, axis=tuple(axes), keepdims=keep) * _up(x.radius.size)
        return Fixed(mantissa, radius)

    def cumulative_sum(self, x: Tensor, axis: int) -> Tensor:
        """Partial sums along an axis."""
        x = _unmasked(self.fixed(x))
        return Fixed(np.cumsum(x.mantissa, axis), np.cumsum(x.radius, axis) * _up(x.shape[axis]))

    def apply(self, name: str, x: Tensor) -> Fixed:
        """An elementary function: the integers by Arb, the radii by a bound of the slope; e^(-inf) = 0."""
        x = self.fixed(x)
        if name not in FUNCTIONS:
            raise Unsupported(f"Expected a function with an enclosure, but got {name!r}.")
        if x.masked is not None and name != "exp":
            raise Unsupported(f"Expected finite arguments of {name!r}, but got a masked entry.")
        evaluated: Evaluated = FUNCTIONS[name](x.mantissa, x.radius * self.unit, x.masked, self.bits)
        if evaluated is None:
            raise Undecided(WIDE)
        mantissa, slope = evaluated
        return Fixed(mantissa, slope * x.radius * UP + CUT)

    # Comparisons

    def shift(self, x: Tensor, axis: int) -> Fixed:
        """The largest midpoint of each row, taken as that exact number."""
        x = self.fixed(x)
        values = x.mantissa if x.masked is None else np.where(x.masked, np.min(x.mantissa), x.mantissa)
        largest = np.max(values, axis=axis, keepdims=True)
        return Fixed(largest, np.zeros(largest.shape))

    def greater(self, x: Tensor, y: Tensor) -> Discrete:
        """x > y where the enclosures decide it; a masked entry is below all that are not, and above none."""
        x, y = self.fixed(x), self.fixed(y)
        margin = _whole((x.radius + y.radius) * UP)
        difference = np.asarray(x.mantissa - y.mantissa, dtype=object)
        above, not_above = (np.asarray(part, dtype=np.bool_) for part in (difference > margin, difference <= -margin))
        if x.masked is not None or y.masked is not None:  # whose mantissas are not read
            above, not_above = (above | _mask(y)) & ~_mask(x), _mask(x) | (not_above & ~_mask(y))
        if not (above | not_above).all():
            raise Undecided(WIDE)
        return above

    def top(self, x: Tensor, axis: int, count: int) -> Discrete:
        """Places of the largest entries; each must be proved larger than the next, and than all the rest."""
        x = _unmasked(self.fixed(x))
        places = np.argsort(-x.mantissa, axis=axis, kind="stable")
        margin = _whole(x.radius)
        low, high = (np.take_along_axis(part, places, axis) for part in (x.mantissa - margin, x.mantissa + margin))
        rows = [np.moveaxis(part, axis, -1) for part in (low, high)]
        for place in range(min(count, x.shape[axis] - 1)):
            following = np.max(rows[1][..., place + 1 :], axis=-1)
            if not (rows[0][..., place] > following).all():
                raise Undecided(WIDE)
        return self.moved(places, lambda a: np.take(a, range(count), axis))

    def floor(self, x: Tensor) -> Discrete:
        """The greatest integer at most x where the enclosure decides it."""
        x = _unmasked(self.fixed(x))
        margin = _whole(x.radius)
        low, high = ((x.mantissa - margin) >> self.bits), ((x.mantissa + margin) >> self.bits)
        if not np.all(low == high):
            raise Undecided(WIDE)
        return whole(np.ravel(low).tolist(), x.shape)


def integers(values: Sequence[int], shape: Sequence[int]) -> Integers:
    """Python integers as an array."""
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result.reshape(tuple(shape))


def _told(x: Fixed) -> Fixed:
    """What a known factor or weights make of integers, if doubles still hold it: else they would grow without end."""
    if not (np.isfinite(x.size).all() and np.isfinite(x.radius).all()):
        raise Undecided(WIDE)
    return x


def _short(ratio: Fraction) -> Fraction | None:
    """A ratio of no more digits than pay: a product of products has ever more."""
    return ratio if max(ratio.numerator.bit_length(), ratio.denominator.bit_length()) <= LONGEST_RATIO else None


def _up(terms: int) -> float:
    """More than a sum of so many doubles >= 0, each a product, can lose in any order."""
    return UP + terms * 2.0**-51


def _mask(x: Fixed) -> NDArray[np.bool_]:
    return np.zeros(x.shape, dtype=np.bool_) if x.masked is None else x.masked


def _unmasked(x: Fixed) -> Fixed:
    if x.masked is not None and x.masked.any():
        raise Unsupported("Expected finite arguments, but a masked entry (-inf) reaches an operation that reads it.")
    return x


def _broadcast(batch: tuple[int, ...]) -> Callable[[Any], Any]:
    return lambda a: np.broadcast_to(a, (*batch, *a.shape[-2:]))


def _joined(parts: Sequence[Fixed], join: Callable[[list[Any]], Any]) -> Fixed:
    masked = join([_mask(part) for part in parts]) if any(part.masked is not None for part in parts) else None
    return Fixed(join([part.mantissa for part in parts]), join([part.radius for part in parts]), masked)


def _whole(radius: Floats) -> Integers:
    """Radii as integers, rounded up."""
    if not np.isfinite(radius).all():
        raise Undecided(WIDE)
    return integers([math.ceil(r) for r in radius.ravel().tolist()], radius.shape)
