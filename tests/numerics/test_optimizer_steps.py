"""Jacobians of optimizer steps against automatic differentiation of the steps themselves, as their papers have them."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch

from proofs.arithmetic.ball import Balls
from proofs.recomputed.optimizers import (
    DECAY,
    MOMENTUM,
    SECOND,
    STABILISER,
    STEP,
    THRESHOLD,
    Rule,
    clipped,
    jacobian,
    states,
)
from proofs.recomputed.training_step import RULES

SIZE, RATE = 3, Fraction(1, 7)
Step = Callable[[torch.Tensor], torch.Tensor]


def problem(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[Fraction]]:
    """A symmetric H and a gradient at 0 of dyadic numbers, and draws between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(-64, 65, (SIZE, SIZE), generator=generator).double() / 32
    gradient = torch.randint(1, 65, (SIZE,), generator=generator).double() / 16
    draws = torch.randint(0, 65, (2 * SIZE,), generator=generator).tolist()
    return half + half.T, gradient, [Fraction(draw, 64) for draw in draws]


def step_of(rule: Rule, h: torch.Tensor, g: torch.Tensor, draws: list[Fraction]) -> tuple[Step, torch.Tensor]:
    """(theta, states) -> the same behind the step on the loss g t + t H t / 2, and where it is taken: at theta = 0."""
    rate, decay = float(RATE), float(DECAY)
    start = torch.zeros(SIZE * states(rule), dtype=torch.float64)
    mask = torch.tensor([float(int(draw * 2)) for draw in draws[:SIZE]], dtype=torch.float64)

    def plain(t: torch.Tensor) -> torch.Tensor:
        gradient = g + h @ t
        if rule == "clip-value":
            gradient = mask * gradient
        if rule == "sign":
            gradient = gradient.sign()
        return (1 - rate * decay if rule in ("weight-decay", "sign") else 1) * t - rate * gradient

    def heavy_ball(x: torch.Tensor) -> torch.Tensor:
        t, m = x.chunk(2)
        m = float(MOMENTUM) * m + g + h @ t
        return torch.cat([t - rate * m, m])

    def adam(x: torch.Tensor) -> torch.Tensor:
        t, m, v = x.chunk(3)
        gradient, first, second = g + h @ t, float(MOMENTUM), float(SECOND)
        m, v = first * m + (1 - first) * gradient, second * v + (1 - second) * gradient**2
        moved = (m / (1 - first**STEP)) / ((v / (1 - second**STEP)).sqrt() + float(STABILISER))
        return torch.cat([(1 - rate * decay * (rule == "adamw")) * t - rate * moved, m, v])

    if states(rule) == 3:
        start[SIZE : 2 * SIZE] = torch.tensor([float(draw) - 0.5 for draw in draws[::2]])
        start[2 * SIZE :] = torch.tensor([float(draw) + 0.5 for draw in draws[1::2]])
        return adam, start
    return (heavy_ball if rule == "heavy-ball" else plain), start


def numbers(rows: list[list[Any]]) -> torch.Tensor:
    return torch.tensor([[float(entry.mid()) for entry in row] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rule", RULES)
def test_a_jacobian_is_that_of_the_step(rule: Rule, seed: int) -> None:
    h, g, draws = problem(seed)
    step, start = step_of(rule, h, g, draws)
    given = iter(draws)
    with Balls(128) as balls:
        second = [[balls.number(Fraction(x)) for x in row] for row in h.tolist()]
        gradient = [balls.number(Fraction(x)) for x in g.tolist()]
        found = numbers(jacobian(rule, second, gradient, rate=RATE, draws=lambda: next(given), base=balls))
    expected: Any = torch.func.jacrev(step)(start)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_so_is_that_of_a_gradient_cut_to_a_length(seed: int) -> None:
    h, g, _ = problem(seed)
    assert float(g.norm()) > THRESHOLD

    def step(t: torch.Tensor) -> torch.Tensor:
        gradient = g + h @ t
        return t - float(RATE) * gradient * float(THRESHOLD) / gradient.norm()

    with Balls(128) as balls:
        second = [[balls.number(Fraction(x)) for x in row] for row in h.tolist()]
        gradient = [balls.number(Fraction(x)) for x in g.tolist()]
        found = [numbers(clipped(second, gradient, rate=RATE, sign=sign, base=balls)) for sign in (1, -1)]
    expected: Any = torch.func.jacrev(step)(torch.zeros(SIZE, dtype=torch.float64))
    torch.testing.assert_close(found[0], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[1], 2 * torch.eye(SIZE, dtype=torch.float64) - expected, rtol=1e-10, atol=1e-10)
