"""Elementary functions of float64 midpoint-radius numbers, from IEEE operations that are correctly rounded.

No library function is believed: e^x is written with +, *, rounding to an integer and a change of exponent, and its
error is proved in docs/separation.md; sigmoid and tanh follow from it; square root and division are correctly rounded.
Everything else is left to Arb, entry by entry.
"""

import math
from collections.abc import Callable
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.ball import Balls

Floats = NDArray[np.float64]
Enclosure = tuple[Floats, Floats]  # midpoints and radii

UNIT = 2.0**-53  # half the distance from 1 to the next double
UP = 1 + 2.0**-40  # more than a few operations on doubles >= 0 can lose
TINY = 2.0**-900  # more than what underflow, even if it is flushed to 0, takes off in any one operation
ROOT_UNDERFLOW = 2.0**-440  # more than what underflow of squares takes off a root, or adds to it
LARGEST = 700.0  # e^700 is a double, and e^-700 is below TINY
RELATIVE = 2.0**-50  # error of `exponential`
BITS = 100  # that Arb works with

LN2_HIGH = float.fromhex("0x1.62e42fefap-1")  # 37 bits: its product with an integer below 2^16 is exact
LN2_LOW = float.fromhex("0x1.cf79abc9e3b3ap-40")  # the rest, rounded
DEGREE = 13
COEFFICIENTS = tuple(1 / math.factorial(k) for k in range(DEGREE + 1))  # rounded once each


def exponential(x: Floats) -> Floats:
    """e^x within a factor 1 ± 2^-50 for |x| <= 700; x = k log 2 + r, a polynomial in r, and 2^k by its exponent."""
    k = x * (1 / math.log(2))
    np.rint(k, out=k)
    r = x - k * LN2_HIGH
    r -= k * LN2_LOW
    result = np.full_like(r, COEFFICIENTS[DEGREE])
    for coefficient in COEFFICIENTS[DEGREE - 1 :: -1]:
        result *= r
        result += coefficient
    exponent = k.astype(np.int64)
    exponent += 1023
    exponent <<= 52
    result *= exponent.view(np.float64)
    return result


def _exp(x: Floats, r: Floats) -> Enclosure | None:
    if not ((x <= LARGEST) & (r <= 1)).all():
        return None
    y = exponential(np.maximum(x, -LARGEST))
    return y, y * (r * (1 + r) + RELATIVE)  # (e^r - 1) <= r (1 + r) for r <= 1


def _sigmoid(x: Floats, r: Floats) -> Enclosure:
    y = exponential(np.clip(-x, -LARGEST, LARGEST))
    y += 1
    np.divide(1.0, y, out=y)
    slope = y - y * y
    slope += 0.1 * r  # |f''| < 0.0963
    slope += 2.0**-48
    np.minimum(slope, 0.25, out=slope)
    slope *= r
    slope += 2 * RELATIVE * y
    return y, slope


def _tanh(x: Floats, r: Floats) -> Enclosure:
    y = 2 * _sigmoid(2 * x, 2 * r)[0] - 1
    slope = np.minimum(1.0, (1 - y * y) + 0.77 * r + 2.0**-45)  # |f''| <= 4 / (3 sqrt 3) < 0.77
    return y, slope * r + 2.0**-47


def _least(x: Floats, r: Floats) -> Floats | None:
    """A lower bound of the enclosure, which must be well above 0."""
    least = x * (1 - 2.0**-50) - r * UP
    return least if (least > TINY).all() else None


def _sqrt(x: Floats, r: Floats) -> Enclosure | None:
    least = _least(x, r)
    if least is None:
        return None
    y = np.sqrt(x)
    return y, 0.5 / np.sqrt(least) * r + UNIT * y


def _rsqrt(x: Floats, r: Floats) -> Enclosure | None:
    least = _least(x, r)
    if least is None:
        return None
    y = 1 / np.sqrt(x)
    return y, 0.5 / (least * np.sqrt(least)) * r + 4 * UNIT * y


FUNCTIONS: dict[str, Callable[[Floats, Floats], Enclosure | None]] = {
    "exp": _exp,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
}


def by_arb(name: str, x: Floats, r: Floats) -> Enclosure | None:
    """Any function that Arb has, some microseconds for each entry; None where it is not bounded."""
    middle, radius = np.empty(x.size), np.empty(x.size)
    with Balls(BITS) as balls:
        function: Callable[[Any], Any] = balls.elementary(name)
        for place, (m, width) in enumerate(zip(x.ravel().tolist(), r.ravel().tolist(), strict=True)):
            if not (math.isfinite(m) and math.isfinite(width)):
                return None
            ball = function(flint.arb(m, width))
            if not ball.is_finite():
                return None
            middle[place] = float(ball.mid())
            radius[place] = float(abs(ball - flint.arb(middle[place])).upper())
    return middle.reshape(x.shape), radius.reshape(x.shape) * UP
