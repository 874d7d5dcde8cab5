"""Lower bounds of distances between enclosed states: exact for a pair, and in float64 with its errors for all pairs."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from proofs.arithmetic.limbs import Floats
from proofs.arithmetic.midpoint_functions import ROOT_UNDERFLOW
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import Unsupported

DIGITS = 12  # of a bound as a decimal string
MOST_EXACT = 1500 * 1499 // 2  # pairs that are done exactly, however many there are


@dataclass(frozen=True, slots=True)
class Separation:
    """What holds of all pairs of a set of states.

    Attributes:
        minimum: no pair outside `unresolved` is closer; None where there is no such pair.
        closest: a pair that this bound is the bound of.
        unresolved: the pairs whose enclosures may meet.
    """

    minimum: Fraction | None
    closest: tuple[int, int] | None
    unresolved: tuple[tuple[int, int], ...]


def lower_bound(first: Enclosure, second: Enclosure) -> Fraction:
    """A number that the distance of two states (1, width) is at least; 0 where the enclosures may meet.

    Exact: sqrt(sum_k max(|a_k - b_k| - r_a - r_b, 0)^2), rounded down to the finer of the two grids.
    """
    bits = max(first.bits, second.bits)
    up, down = bits - first.bits, bits - second.bits
    radius = (first.radius[0] << up) + (second.radius[0] << down)
    gaps = np.abs((first.mantissa[0] << up) - (second.mantissa[0] << down)) - radius
    return Fraction(math.isqrt(sum(gap * gap for gap in gaps.tolist() if gap > 0)), 1 << bits)


def separation(states: Sequence[Enclosure], skipped: Collection[tuple[int, int]] = ()) -> Separation:
    """The least `lower_bound` over all pairs i < j but the skipped ones.

    Float64 gives every pair a number that is certainly not above its exact bound; only pairs for which that number
    lies below the least exact bound so far are done exactly, so that the result is the same as if all were.

    Raises:
        Unsupported: there are too many of those.
    """
    best: Fraction | None = None
    closest: tuple[int, int] | None = None
    unresolved: list[tuple[int, int]] = []
    left_out, done = set(skipped), 0
    for first, bounds in _float_bounds(states):
        for place in np.argsort(bounds, kind="stable").tolist():
            if best is not None and float(bounds[place]) > best:
                break
            pair = (first, first + 1 + place)
            if pair in left_out:
                continue
            done += 1
            if done > MOST_EXACT:
                raise Unsupported(
                    f"Expected floats to tell all but {MOST_EXACT} pairs apart, but got more that are close; take "
                    "fewer prompts, or more bits."
                )
            exact = lower_bound(states[first], states[pair[1]])
            if exact == 0:
                unresolved.append(pair)
            elif best is None or exact < best:
                best, closest = exact, pair
    return Separation(best, closest, tuple(sorted(unresolved)))


def _float_bounds(states: Sequence[Enclosure]) -> Iterator[tuple[int, Floats]]:
    """For every state but the last, a double that its exact bound to each later one is at least."""
    width = states[0].mantissa.shape[1]
    points = np.array([state.mantissa[0].astype(np.float64) * 2.0**-state.bits for state in states])
    radii = np.array([(state.radius[0] + 1) * 2.0**-state.bits for state in states])
    rounded = np.abs(points).max(axis=1) * 2.0**-51
    slack = math.sqrt(width) * (radii + rounded) * (1 + 2.0**-40)
    for i in range(len(states) - 1):
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.sqrt(np.square(points[i + 1 :] - points[i]).sum(axis=1)) * (1 - (width + 16) * 2.0**-51)
            bounds = (distance - slack[i] - slack[i + 1 :]) - np.abs(distance) * 2.0**-50 - ROOT_UNDERFLOW
        yield i, np.where(np.isfinite(bounds), bounds, -np.inf)  # what overflowed bounds nothing: done exactly


def decimal_below(value: Fraction) -> str:
    """The largest decimal number of 12 digits that is not above a positive number."""
    exponent = math.floor(math.log10(value)) if value > Fraction(1, 10**300) else -(10**4)
    while Fraction(10) ** exponent > value:
        exponent -= 1
    while Fraction(10) ** (exponent + 1) <= value:
        exponent += 1
    scaled = value / Fraction(10) ** (exponent - DIGITS + 1)
    digits = str(scaled.numerator // scaled.denominator)
    return f"{digits[0]}.{digits[1:]}e{exponent:+d}"
