"""The decision rule, as the theory states it, and the condition under which it cannot err.

`proofs/formal/Inversion.v`: a tested candidate v is `accepted` if none tested is nearer, its residual is within the
tolerance, and every tested rival of another class lies outside the tolerance and *more than* twice as far ("at least"
would accept a wrong token at the boundary: `at_least_twice_is_wrong`). `accepted_exactly`: for given numbers, in every
situation with that error, that tolerance and at least that margin, in which the truth was tested, whatever is accepted
is right, if and only if

    error ≤ tolerance,  or  error + tolerance < margin,  or  3 error ≤ 2 margin,

where the *error* is the residual of the true token and the *margin* a lower bound for the distance of every other
class's state from the true one. The last two say that the error and any residual with which a rival could be accepted,
at most the tolerance and less than half the error, together stay below the margin. Numbers are compared as they are,
floats or Fractions: doubling a float is exact.
"""

import math
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar, overload

import torch

CLEAR = 2  # a rival is clearly farther beyond this multiple of the accepted residual

Number = TypeVar("Number", float, Fraction)


class Condition(StrEnum):
    """Why the rule cannot err at a position."""

    WITHIN_TOLERANCE = "error within tolerance"
    BELOW_MARGIN = "error and distance below the margin"


@overload
def fits(residual: torch.Tensor, tolerance: torch.Tensor) -> torch.Tensor: ...
@overload
def fits(residual: Number, tolerance: Number) -> bool: ...
def fits(residual: Any, tolerance: Any) -> Any:
    """Whether a candidate lies within the tolerance; of tensors, which do."""
    return residual <= tolerance


def limit(residual: Number, tolerance: Number) -> Number:
    """What the residual of every rival has to exceed, if that of the nearest candidate is `residual`."""
    return max(tolerance, CLEAR * residual)


def clearly_farther(rival: Number, residual: Number, tolerance: Number) -> bool:
    """Whether a rival lies outside the tolerance and more than twice as far."""
    return rival > limit(residual, tolerance)


def accepted(residual: Number, rival: Number | None, tolerance: Number) -> bool:
    """Whether the nearest candidate is accepted; `rival` is the least residual of another class (None: no rival)."""
    return fits(residual, tolerance) and (rival is None or clearly_farther(rival, residual, tolerance))


def condition(error: Number, tolerance: Number, margin: Number | Fraction | None) -> Condition | None:
    """Which condition of `accepted_exactly` holds, worked out exactly; None where neither does, or nothing is known.

    Args:
        error: the residual of the true token, which was tested.
        tolerance: the residual that is allowed.
        margin: at most the distance of any other class's state from the true one; None where that is not known.
    """
    if not math.isfinite(error):
        return None
    if error <= tolerance:
        return Condition.WITHIN_TOLERANCE
    if margin is None or not math.isfinite(margin):
        return None
    exact_error, exact_margin = Fraction(error), Fraction(margin)
    if exact_error + Fraction(tolerance) < exact_margin or 3 * exact_error <= 2 * exact_margin:
        return Condition.BELOW_MARGIN
    return None


def least_margin(error: Number, nearest_other: Number) -> Fraction | None:
    """A lower bound for the margin, by the triangle inequality, once every token has been tested.

    Args:
        error: the residual of the true token.
        nearest_other: the least residual of any token of another class.
    """
    if not (math.isfinite(error) and math.isfinite(nearest_other)):
        return None
    return Fraction(nearest_other) - Fraction(error)
