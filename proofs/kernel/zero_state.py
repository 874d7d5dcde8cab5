"""Optimizers that start without state: several heavy-ball steps from m = 0, and the first step of Adam.

The joint law of parameters and state is singular then, so the map of the first parameters to the last is treated as
a whole. At zero parameters it is differentiable with an exact rational derivative, and its determinant is compared
with the closed form of the scalar recursion at the eigenvalues +-|w| and 0 of H(0).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import flint

from proofs.kernel.optimizers import MOMENTUM, STABILISER, Rule

STEPS = 3


def from_zero_state(
    rule: Rule, second: Sequence[Sequence[Any]], *, rate: Fraction, square: Fraction, width: int
) -> list[dict[str, Any]]:
    """Determinants at zero parameters of the steps from zero state, exactly, each against its closed form.

    Args:
        rule: only heavy-ball and adam have such a statement.
        second: H(0), exact rationals.
        rate: eta.
        square: |w|^2, or 0 where H(0) is zero.
        width: the multiplicity of each eigenvalue +-|w|.
    """
    if rule == "heavy-ball":
        return [_heavy_ball(second, steps, rate, square, width) for steps in range(1, STEPS + 1)]
    return [_adam(second, rate, square, width)] if rule == "adam" else []


def _heavy_ball(second: Any, steps: int, rate: Fraction, square: Fraction, width: int) -> dict[str, Any]:
    p = len(second)
    h = flint.fmpq_mat(p, p, [entry for row in second for entry in row])
    eta, mu = (flint.fmpq(x.numerator, x.denominator) for x in (rate, MOMENTUM))
    moved = flint.fmpq_mat(p, p, [int(i == j) for i in range(p) for j in range(p)])
    momentum = flint.fmpq_mat(p, p)
    t, m = (Fraction(1), Fraction(0)), (Fraction(0), Fraction(0))  # a + b |w|, the recursion at the eigenvalue |w|
    for _ in range(steps):
        momentum = momentum * mu + h * moved
        moved = moved - momentum * eta
        m = (MOMENTUM * m[0] + t[1] * square, MOMENTUM * m[1] + t[0])
        t = (t[0] - rate * m[0], t[1] - rate * m[1])
    expected = (t[0] ** 2 - t[1] ** 2 * square) ** width
    return _row(f"heavy ball from zero momentum, {steps} steps", moved.det(), expected)


def _adam(second: Any, rate: Fraction, square: Fraction, width: int) -> dict[str, Any]:
    """det(diag(epsilon^2) - eta epsilon H(0)), which is the same for every sign pattern of the gradient."""
    p = len(second)
    scale = flint.fmpq((rate * STABILISER).numerator, (rate * STABILISER).denominator)
    floor = flint.fmpq((STABILISER**2).numerator, (STABILISER**2).denominator)
    entries = [(floor if i == j else 0) - scale * second[i][j] for i in range(p) for j in range(p)]
    expected = STABILISER ** (2 * p) * (1 - (rate / STABILISER) ** 2 * square) ** width
    return _row("Adam, first step from zero state", flint.fmpq_mat(p, p, entries).det(), expected)


def _row(statement: str, found: Any, expected: Fraction) -> dict[str, Any]:
    exact = Fraction(int(found.p), int(found.q))
    return {"statement": statement, "agrees": exact == expected, "non_zero": exact != 0}
