"""Elementary functions of fixed-point numbers: the integers by Arb, and a bound of the slope over the enclosure.

For an enclosure of midpoint x and radius r a function returns an integer within one unit of f(x) 2^bits, and a double
s >= |f(x) - f(v)| / |x - v| for every v within r of x; the proofs of the slopes are in docs/separation.md.
"""

from collections.abc import Callable
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.ball import Balls, integer_in
from proofs.arithmetic.limbs import Floats, Integers

GUARD = 100  # bits beyond the point's, for results up to 2^60 and what Arb itself rounds
DOUBLE = 1024  # bits of a size that a double can have
UP = 1 + 2.0**-40
SLACK = 2.0**-40  # more than a double and one unit lose of a number in [0, 1]

Masked = NDArray[np.bool_] | None
Evaluated = tuple[Integers, Floats] | None
Slope = Callable[[Floats, Floats, Floats], Floats]  # of argument, value and radius


def _values(name: str, mantissa: Integers, bits: int) -> Integers:
    """Integers within one unit of the function's values."""
    with Balls(bits + GUARD) as balls:
        function = balls.elementary(name)
        scale = flint.arb((1, bits))
        flat = [_nearby(function(flint.arb((m, -bits))) * scale) for m in mantissa.ravel().tolist()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(mantissa.shape)


def _nearby(value: Any) -> int:
    """An integer within 1 of every number in a ball."""
    whole = integer_in(value.floor(), DOUBLE)
    if whole is not None:
        return whole
    near = integer_in((value.mid() + flint.arb((1, -1))).floor(), DOUBLE)
    if near is None or not value.rad() < flint.arb((1, -2)):
        raise OverflowError
    return near


def _with_slope(name: str, slope: Slope) -> Callable[[Integers, Floats, Masked, int], Evaluated]:
    def evaluate(mantissa: Integers, radius: Floats, masked: Masked, bits: int) -> Evaluated:
        unit = 2.0**-bits
        if masked is not None:  # e^(-inf) = 0; the stand-in 0 is not read
            mantissa = np.where(masked, 0, mantissa)
        try:
            argument = mantissa.astype(np.float64) * unit
            least = argument - SLACK * np.abs(argument) - radius
            if name in _LOWEST and not (least > _LOWEST[name]).all():
                return None
            values = _values(name, mantissa, bits)
            bound = slope(argument, values.astype(np.float64) * unit, radius)
        except OverflowError:
            return None
        # A slope below zero is none: what it was divided by could not be shown to lie above zero.
        if not (np.isfinite(bound) & (bound >= 0)).all() or not np.isfinite(radius).all():
            return None
        if masked is not None:
            values, bound = np.where(masked, 0, values), np.where(masked, 0.0, bound)
        return values, bound * UP

    return evaluate


_LOWEST = {"log": 0.0, "log1p": -1.0, "sqrt": 0.0, "rsqrt": 0.0}  # the enclosure must lie above


def _absolute(mantissa: Integers, radius: Floats, masked: Masked, bits: int) -> Evaluated:
    return np.abs(mantissa), np.ones(mantissa.shape)


def _constant(value: float) -> Slope:
    return lambda x, y, r: np.full(x.shape, value)


def _exp(x: Floats, y: Floats, r: Floats) -> Floats:
    return np.where(r <= 1, (np.abs(y) * UP + SLACK) * (1 + r) * UP, np.inf)


def _expm1(x: Floats, y: Floats, r: Floats) -> Floats:
    return np.where(r <= 1, (np.abs(y + 1) + SLACK * (1 + np.abs(y))) * (1 + r) * UP, np.inf)


def _sigmoid(x: Floats, y: Floats, r: Floats) -> Floats:
    return np.minimum(0.25, np.abs(y * (1 - y)) + SLACK + 0.1 * r)  # |f''| < 0.0963


def _tanh(x: Floats, y: Floats, r: Floats) -> Floats:
    return np.minimum(1.0, np.abs(1 - y * y) + SLACK + 0.77 * r)  # |f''| <= 4 / (3 sqrt 3) < 0.77


def _log(x: Floats, y: Floats, r: Floats) -> Floats:
    return 1 / (x * (1 - SLACK) - r)


def _log1p(x: Floats, y: Floats, r: Floats) -> Floats:
    return 1 / ((1 + x) - SLACK * (1 + np.abs(x)) - r)


def _sqrt(x: Floats, y: Floats, r: Floats) -> Floats:
    return 0.5 / np.sqrt(x * (1 - SLACK) - r) * UP


def _rsqrt(x: Floats, y: Floats, r: Floats) -> Floats:
    least = x * (1 - SLACK) - r
    return 0.5 / (least * np.sqrt(least)) * UP


FUNCTIONS: dict[str, Callable[[Integers, Floats, Masked, int], Evaluated]] = {
    "absolute": _absolute,
    **{
        name: _with_slope(name, slope)
        for name, slope in {
            "exp": _exp, "expm1": _expm1, "sigmoid": _sigmoid, "tanh": _tanh, "log": _log, "log1p": _log1p,
            "sqrt": _sqrt, "rsqrt": _rsqrt, "erf": _constant(1.1284), "sin": _constant(1.0), "cos": _constant(1.0),
            "softplus": _constant(1.0),
        }.items()
    },
}  # fmt: skip
