"""Optimizers that start without state: several steps of heavy ball or of Adam, from m = 0 and v = 0.

The joint law of parameters and state is singular then, so the map of the first parameters to the last is treated as
a whole. At zero parameters its derivative is the linear recursion m' = a m + b H t, t' = c t - s m', exactly rational,
and its determinant is compared with the closed form of the recursion at the eigenvalues of H(0). For heavy ball it is
analytic everywhere; for Adam, v being 0 there, it is the limit of the derivative beside zero on every branch of the
roots (docs/training-step.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint

from proofs.recomputed.gate import Gate
from proofs.recomputed.optimizers import MOMENTUM, STABILISER, Rule, kept

STEPS = 3
NAMES: dict[Rule, str] = {"heavy-ball": "heavy ball", "adam": "Adam", "adamw": "AdamW"}
Scalar = tuple[Fraction, Fraction]  # a + b e at an eigenvalue e of H whose square is known


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the recursion above: the factors a, b, c and s."""

    momentum: Fraction
    share: Fraction
    kept: Fraction
    speed: Fraction


def from_zero_state(
    rule: Rule, second: Sequence[Sequence[Any]], *, rate: Fraction, square: Fraction, zero: Gate, base: Gate | None
) -> list[dict[str, Any]]:
    """Determinants at zero parameters of 1, 2, ... steps on the same batch, each against its closed form.

    Args:
        rule: only heavy-ball, adam and adamw carry a state.
        second: H(0), exact rationals.
        rate: eta.
        square: |w|^2.
        zero: the forms of H at zero.
        base: those at the base point, which serves where the determinant at zero is 0 and the map is analytic in
            between: for heavy ball, and for the first step of Adam.
    """
    return [_steps(rule, second, count, rate, square, zero, base) for count in range(1, STEPS + 1) if rule in NAMES]


def steps_of(rule: Rule, count: int, rate: Fraction) -> list[Step]:
    """The steps of a rule from zero state; Adam corrects the bias of m, and divides by epsilon where v is 0."""
    if rule == "heavy-ball":
        return [Step(MOMENTUM, Fraction(1), Fraction(1), rate)] * count
    corrected = [rate / STABILISER / (1 - MOMENTUM**k) for k in range(1, count + 1)]
    return [Step(MOMENTUM, 1 - MOMENTUM, kept(rule, rate), speed) for speed in corrected]


def _steps(
    rule: Rule, second: Any, count: int, rate: Fraction, square: Fraction, zero: Gate, base: Gate | None
) -> dict[str, Any]:
    steps = steps_of(rule, count, rate)
    found = _moved(second, steps).det()
    exact = Fraction(int(found.p), int(found.q))
    expected = determinant(steps, len(second), square, zero.strengths)
    beside = base is not None and (rule == "heavy-ball" or (rule == "adam" and count == 1))
    elsewhere = determinant(steps, len(second), square, base.strengths) if beside and base is not None else 0
    plural = "1 step" if count == 1 else f"{count} steps"
    return {
        "statement": f"{NAMES[rule]} from zero state, {plural}",
        "agrees": exact == expected,
        "non_zero": exact != 0 or elsewhere != 0,
        "vanishes_at_zero": exact == 0,
    }


def determinant(steps: Sequence[Step], parameters: int, square: Fraction, strengths: Sequence[Fraction]) -> Fraction:
    """The determinant by the eigenvalues: 0, and of either sign the roots of `square` times each strength."""
    idle = at_eigenvalue(steps, Fraction(0))[0] ** (parameters - 2 * len(strengths))
    pairs = [(at_eigenvalue(steps, square * strength), square * strength) for strength in strengths]
    return idle * math.prod(a**2 - b**2 * e for (a, b), e in pairs)


def at_eigenvalue(steps: Sequence[Step], square: Fraction) -> Scalar:
    """t after the steps, from t = 1 and m = 0, as a + b e where e^2 = `square`."""
    t, m = (Fraction(1), Fraction(0)), (Fraction(0), Fraction(0))
    for step in steps:
        m = (step.momentum * m[0] + step.share * t[1] * square, step.momentum * m[1] + step.share * t[0])
        t = (step.kept * t[0] - step.speed * m[0], step.kept * t[1] - step.speed * m[1])
    return t


def _moved(second: Any, steps: Sequence[Step]) -> flint.fmpq_mat:
    """The derivative of the last parameters by the first, as a matrix."""
    p = len(second)
    h = flint.fmpq_mat([*map(list, second)])
    moved = flint.fmpq_mat([[int(i == j) for i in range(p)] for j in range(p)])
    momentum = flint.fmpq_mat(p, p)
    for step in steps:
        momentum = momentum * _fmpq(step.momentum) + (h * moved) * _fmpq(step.share)
        moved = moved * _fmpq(step.kept) - momentum * _fmpq(step.speed)
    return moved


def _fmpq(value: Fraction) -> flint.fmpq:
    return flint.fmpq(value.numerator, value.denominator)
