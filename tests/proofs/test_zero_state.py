"""Several steps from zero state: determinants against those of the optimizers themselves, run on exact numbers."""

from fractions import Fraction
from itertools import product
from typing import Any

import flint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.recomputed.gate import Gate
from proofs.recomputed.optimizers import DECAY, MOMENTUM, STABILISER, Rule
from proofs.recomputed.zero_state import STEPS, determinant, from_zero_state, steps_of

RULES: list[Rule] = ["heavy-ball", "adam", "adamw"]
ONE = [Fraction(3, 5), Fraction(-4, 5)]  # of length 1
Matrix = list[list[Fraction]]


def of_gate(w: list[Fraction], x: list[Fraction], shift: bool) -> Matrix:
    """Second derivatives of w . U (beta + gamma x): of U, beta (or a parameter that nothing reads) and gamma."""
    n, d = len(w), len(x)
    h = [[Fraction(0)] * (n * d + 2 * d) for _ in range(n * d + 2 * d)]
    for (v, part), (i, entry) in product(enumerate(w), enumerate(x)):
        for place, value in ((n * d + i, part * shift), (n * d + d + i, part * entry)):
            h[v * d + i][place] = h[place][v * d + i] = value
    return h


def run(rule: Rule, h: Matrix, count: int, rate: Fraction) -> Fraction:
    """The determinant of `count` steps on the loss t H t / 2: one run from every unit vector, v being 0."""
    columns: list[list[Any]] = []
    for start in range(len(h)):
        t = [Fraction(i == start) for i in range(len(h))]
        m = [Fraction(0)] * len(h)
        for step in range(1, count + 1):
            g = [sum((a * b for a, b in zip(row, t, strict=True)), Fraction(0)) for row in h]
            if rule == "heavy-ball":
                m = [MOMENTUM * old + new for old, new in zip(m, g, strict=True)]
                t = [old - rate * moved for old, moved in zip(t, m, strict=True)]
                continue
            m = [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(m, g, strict=True)]
            decayed = [(1 - rate * DECAY * (rule == "adamw")) * old for old in t]
            moved = [rate * (old / (1 - MOMENTUM**step)) / STABILISER for old in m]
            t = [old - by for old, by in zip(decayed, moved, strict=True)]
        columns.append([flint.fmpq(x.numerator, x.denominator) for x in t])
    found = flint.fmpq_mat(columns).det()
    return Fraction(int(found.p), int(found.q))


def rationals(least: int, most: int) -> st.SearchStrategy[list[Fraction]]:
    return st.lists(st.fractions(-2, 2, max_denominator=5), min_size=least, max_size=most)


def claimed(rule: Rule, h: Matrix, rate: Fraction, zero: Gate, base: Gate | None) -> list[dict[str, Any]]:
    square = sum((x * x for x in ONE), Fraction(0))
    written = [[flint.fmpq(x.numerator, x.denominator) for x in row] for row in h]
    return from_zero_state(rule, written, rate=rate, square=square, zero=zero, base=base)


@given(st.sampled_from(RULES), rationals(1, 3), rationals(1, 2), st.booleans(), st.integers(1, STEPS),
       st.fractions("1/20", 2, max_denominator=20))  # fmt: skip
def test_closed_forms_are_the_determinants_of_the_steps(
    rule: Rule, w: list[Fraction], x: list[Fraction], shift: bool, count: int, rate: Fraction
) -> None:
    h, square = of_gate(w, x, shift), sum((part * part for part in w), Fraction(0))
    strengths = [shift + entry * entry for entry in x]
    assert determinant(steps_of(rule, count, rate), len(h), square, strengths) == run(rule, h, count, rate)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rate", [Fraction(1, 10), Fraction(1), STABILISER, 1 / (1 / STABILISER + DECAY)])
def test_where_the_determinant_vanishes_another_point_serves_if_the_map_is_analytic_in_between(
    rule: Rule, rate: Fraction
) -> None:
    zero, base = Gate("LayerNorm", (Fraction(0),)), Gate("LayerNorm", (Fraction(1),))
    h = of_gate(ONE, [Fraction(0)], shift=True)
    exact = [run(rule, h, count, rate) for count in range(1, STEPS + 1)]
    for other in (None, base):
        lines = claimed(rule, h, rate, zero, other)
        assert [line["statement"].split(", ")[1] for line in lines] == ["1 step", "2 steps", "3 steps"]
        assert all(line["agrees"] for line in lines)
        assert [line["vanishes_at_zero"] for line in lines] == [value == 0 for value in exact]
        serves = [other is not None and (rule == "heavy-ball" or (rule == "adam" and n == 1)) for n in (1, 2, 3)]
        assert [line["non_zero"] for line in lines] == [
            value != 0 or served for value, served in zip(exact, serves, strict=True)
        ]
    vanishing = {"heavy-ball": Fraction(1), "adam": STABILISER, "adamw": 1 / (1 / STABILISER + DECAY)}
    assert (exact[0] == 0) is (rate == vanishing[rule])


def test_second_derivatives_of_another_form_do_not_agree() -> None:
    h = of_gate(ONE, [Fraction(0)], shift=True)
    h[0][0] = Fraction(1)
    lines = claimed("heavy-ball", h, Fraction(1, 10), Gate("LayerNorm", (Fraction(0),)), None)
    assert not any(line["agrees"] for line in lines)


def test_other_rules_have_no_state() -> None:
    h = of_gate(ONE, [Fraction(0)], shift=True)
    assert claimed("gd", h, Fraction(1, 10), Gate("LayerNorm", (Fraction(0),)), None) == []
