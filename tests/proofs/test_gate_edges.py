"""What a gate and what follows from it may not rest on, beyond `test_gate`; steps from zero state, means, formulas."""

import re
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import flint
import pytest
import sympy

from proofs import Graph, Verdict
from proofs.recomputed import optimizers
from proofs.recomputed.gate import Gate, norms_rows, reads_out
from proofs.recomputed.loss import Dyadics, Sample, mean
from proofs.recomputed.optimizers import DECAY, MOMENTUM, SECOND, STABILISER, STEP, THRESHOLD, Rule
from proofs.recomputed.settled import NO_GATE, NO_ROWS, also_settled, holds_from_zero
from proofs.recomputed.training_step import RULES, prove_step
from proofs.recomputed.zero_state import from_zero_state
from tests.proofs.building import Net

D, N = 2, 3
TENTH = Fraction(1, 10)


def normed(read_before: str = "", rows: str = "of the tokens", other: str = "other") -> Graph:
    """Logits U LN(x), x some rows, which a gain that is zero with the other parameters adds those of the tokens to."""
    net = Net()
    tokens, table = net.tokens(2, N), net.parameter("embedding", N, D)
    own = net.op("take", table, tokens, axis=0)
    added = net.op("multiply", own, net.parameter("gain", D))
    x = net.op("add", own, added)
    if rows == "of fixed places":
        x = net.op("add", net.op("take", table, net.constant([0, 1], (1, 2), "integer"), axis=0), added)
    if rows == "of another table":
        x = net.op("take", net.parameter(other, N, D), tokens, axis=0)
    scale, shift = net.parameter("scale", D), net.parameter("shift", D)
    if read_before:
        x = net.op("add", x, net.parameter(read_before, D))
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1) if rows != "of another table" else x
    x = net.op("layer_norm", x, scale, shift, axes=1, epsilon=Fraction(1, 16))
    head = net.parameter("head", N, D) if rows != "of another table" else own
    net.op("matmul", x, net.op("permute", head, order=(1, 0) if rows != "of another table" else (0, 2, 1)))
    return net.graph()


@pytest.mark.parametrize("read_before", ["", "scale", "shift"])
def test_a_norm_reads_out_by_a_scale_and_a_shift_of_its_own(read_before: str) -> None:
    assert reads_out(normed(read_before)) is (read_before == "")


@pytest.mark.parametrize(("rows", "other"), [
    ("of fixed places", ""), ("of another table", "a table"), ("of another table", "the table"),
])  # fmt: skip
def test_a_norm_is_of_the_rows_of_the_tokens_in_the_table_of_the_base_point(rows: str, other: str) -> None:
    assert norms_rows(normed())
    assert not norms_rows(normed(rows=rows, other=other))


FORMS = {  # of x and a function of its mean square: what is a norm of the row whatever the sign of its root
    "x rsqrt": (True, lambda net, x, p: net.op("multiply", x, net.op("rsqrt", p))),
    "rsqrt x": (True, lambda net, x, p: net.op("multiply", net.op("rsqrt", p), x)),
    "x over sqrt": (True, lambda net, x, p: net.op("divide", x, net.op("sqrt", p))),
    "x over rsqrt": (False, lambda net, x, p: net.op("divide", x, net.op("rsqrt", p))),
    "sqrt over x": (False, lambda net, x, p: net.op("divide", net.op("sqrt", p), x)),
    "x sqrt": (False, lambda net, x, p: net.op("multiply", x, net.op("sqrt", p))),
    "x tanh": (False, lambda net, x, p: net.op("multiply", x, net.op("tanh", p))),
    "x sigmoid": (False, lambda net, x, p: net.op("multiply", x, net.op("sigmoid", p))),
    "x, a root of an exponential": (False, lambda net, x, p: net.op("multiply", x, net.op("rsqrt", net.op("exp", p)))),
    "x, a root of a table": (False, lambda net, x, p: net.op("multiply", x, net.op("rsqrt", net.op(
        "add", p, net.op("power", net.parameter("table", D), exponent=2))))),
    "of x tanh": (False, lambda net, x, p: net.op("multiply", net.op("tanh", x), net.op("rsqrt", p))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_norm_by_the_root_mean_square_is_of_the_row_and_a_polynomial_of_it(form: str) -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", N, D), net.tokens(1, N), axis=0)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    expected, make = FORMS[form]
    y = make(net, x, net.op("add", square, net.constant(Fraction(1, 16))))
    y = net.op("multiply", y, net.parameter("scale", D))
    net.op("matmul", y, net.op("permute", net.parameter("head", N, D), order=(1, 0)))
    assert norms_rows(net.graph()) is expected


def gate(*squares: int) -> Gate:
    return Gate("LayerNorm", tuple(map(Fraction, squares)))


@pytest.mark.parametrize(("gates", "settled"), [
    ([(gate(0, 0), gate(1, 2)), (gate(0, 0), gate(2, 1))], True),
    ([(gate(0, 0), gate(1, 2)), (gate(0, 0), gate(2, 0))], False),
    ([(gate(0, 0), gate(0, 2)), (gate(0, 0), gate(0, 1))], False),
    ([(gate(0, 0), gate(1, 2)), (None, None)], False), ([(gate(0, 0), gate(1, 2)), (None, gate(1, 2))], False),
    ([(gate(0, 0), None), (gate(0, 0), gate(1, 2))], False),
])  # fmt: skip
@pytest.mark.parametrize("rule", ["heavy-ball", "clip-norm"])
def test_what_follows_needs_a_gate_of_no_zeros_for_every_batch(rule: Any, gates: Any, settled: bool) -> None:
    follows, left = also_settled(rule, normed(), gates)
    assert [line.verdict for line in follows] == [Verdict.PROVED] * settled
    assert [line.reason for line in left] == [NO_GATE] * (not settled)


@pytest.mark.parametrize("rule", ["adam", "adamw"])
def test_adam_from_zero_state_needs_a_norm_of_the_rows_themselves(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its proof has every step, and every sign of a root, see the norm of the row and of nothing else."""
    gates = [(gate(0, 0, 0), gate(1, 2, 3))]
    follows, left = also_settled(rule, normed(), gates)
    assert len(follows) == 1 and NO_ROWS not in {line.reason for line in left}
    monkeypatch.setattr("proofs.recomputed.settled.norms_rows", lambda _: False)
    follows, left = also_settled(rule, normed(), gates)
    assert not follows and [line.reason for line in left] == [NO_ROWS]


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("rule", ["heavy-ball", "clip-norm", "adam", "adamw"])
def test_who_needs_a_norm_of_the_rows_themselves(rule: Any, norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = [(Gate(norm, gate(0, 0, 0).squares), Gate(norm, gate(1, 2, 3).squares))]
    monkeypatch.setattr("proofs.recomputed.settled.norms_rows", lambda _: False)
    _, left = also_settled(rule, normed(), gates)
    needed = rule in ("adam", "adamw") or (rule, norm) == ("clip-norm", "LayerNorm")
    assert ([line.reason for line in left] == [NO_ROWS]) is needed


@pytest.mark.parametrize("missing", [None, "reads_out", "rows_are_free", "norms_rows", "real_for_every_sign"])
@pytest.mark.parametrize("rule", ["heavy-ball", "adam", "adamw"])
def test_a_recursion_at_zero_says_something_of_adam_where_all_of_its_theorem_is_met(
    rule: Any, missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("reads_out", "rows_are_free", "norms_rows", "real_for_every_sign"):
        monkeypatch.setattr(f"proofs.recomputed.settled.{name}", lambda _, met=name != missing: met)
    assert holds_from_zero(rule, normed()) is (rule == "heavy-ball" or missing is None)


def test_a_state_whose_squares_are_no_rationals_is_no_gate() -> None:
    """Logits U (gamma y), y a row and the row over its length: what enters is y^2."""
    net = Net()
    x = net.op("take", net.parameter("embedding", N, D), net.tokens(1, N), axis=0)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    x = net.op("add", x, net.op("multiply", x, net.op("rsqrt", net.op("add", square, net.constant(Fraction(3, 2))))))
    x = net.op("multiply", x, net.parameter("scale", D))
    net.op("matmul", x, net.op("permute", net.parameter("head", N, D), order=(1, 0)))
    sample = Sample((0,), (Fraction(1), Fraction(0), Fraction(0)))
    claim = prove_step(net.graph(), [sample], rule="gd", rate=TENTH, seed=3).claim
    assert claim["at_zero"]["one sample"]["agrees"]
    assert "not those of the gate lemma" in claim["at_base"]["reason"]


def steps(rule: Rule, h: list[list[Fraction]], base: Gate | None) -> list[dict[str, Any]]:
    """Of one to three steps from zero state, at a rate of epsilon."""
    written = [[flint.fmpq(x.numerator, x.denominator) for x in row] for row in h]
    return from_zero_state(rule, written, rate=STABILISER, square=Fraction(1), zero=gate(0), base=base)


def test_beside_zero_two_steps_of_adam_have_no_other_point() -> None:
    """The map is analytic up to the base point for the first step alone.

    Where H^2 = 19/5 H - 19/10, the second step of Adam, I - 2 H + 10/19 H^2, is zero.
    """
    companion = [[Fraction(0), Fraction(-19, 10)], [Fraction(1), Fraction(19, 5)]]
    lines = steps("adam", companion, gate(1))
    assert [line["vanishes_at_zero"] for line in lines] == [False, True, False]
    assert [line["non_zero"] for line in lines] == [True, False, True]


@pytest.mark.parametrize("rule", ["heavy-ball", "adam", "adamw"])
@pytest.mark.parametrize("entry", [Fraction(-1, 2), Fraction(1, 2)])
def test_determinants_of_steps_are_compared_exactly(rule: Any, entry: Fraction) -> None:
    """Whether they are above the closed form or below it."""
    lines = steps(rule, [[entry, Fraction(0)], [Fraction(0), Fraction(0)]], gate(1))
    assert not any(line["agrees"] for line in lines)


def test_a_mean_is_of_all_samples() -> None:
    each = [([Fraction(n), Fraction(n * n)], [[Fraction(n**3)]]) for n in (1, 2, 5)]
    base: Any = SimpleNamespace(number=Fraction)
    assert mean(each, base) == ([Fraction(8, 3), Fraction(30, 3)], [[Fraction(134, 3)]])
    assert mean(each[:1], base) == each[0]


def test_what_is_drawn_is_kept_or_clipped() -> None:
    """Either for one of ten at least, so that the masks that are looked at are not all the same."""
    drawn = [Dyadics(seed).unit() for seed in range(100)]
    assert all(0 <= one < 1 for one in drawn)
    assert 10 < sum(int(2 * one) for one in drawn) < 90


def test_constants_are_those_of_the_table_in_the_docs() -> None:
    """docs/training-step.md; bias corrections are those of the second step."""
    assert (Fraction(1, 100), Fraction(9, 10), Fraction(999, 1000)) == (DECAY, MOMENTUM, SECOND)
    assert (Fraction(1, 10**8), 1, 2) == (STABILISER, THRESHOLD, STEP)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "clip-value"])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_a_formula_is_what_is_computed(rule: Any, layer_norm: bool) -> None:
    """Read as it is written: a space is a product, and "at 0" where it holds."""
    written = optimizers.formula(rule, layer_norm=layer_norm).removesuffix(" at 0").replace("|w|", "w")
    written = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", written).replace("^", "**").replace("2d", "2*d")
    d, p, rate, square = 3, 11, Fraction(2, 7), Fraction(1, 4)
    numbers = {"d": d, "p": p, "eta": rate, "w": Fraction(1, 2), "decay": DECAY, "mu": MOMENTUM, "beta1": MOMENTUM}
    symbols = {name: sympy.Rational(value) for name, value in (numbers | {"beta2": SECOND}).items()}
    found = optimizers.by_gate(rule, parameters=p, strengths=[Fraction(layer_norm)] * d, square=square, rate=rate)
    assert sympy.sympify(written.replace("lambda", "decay"), locals=symbols) == sympy.Rational(found)


def test_clipping_by_value_has_a_bound_for_a_formula() -> None:
    for layer_norm in (True, False):
        assert optimizers.formula("clip-value", layer_norm=layer_norm).startswith("at least (1 - eta^2 |w|^2)^d at 0")


@pytest.mark.parametrize("rule", RULES)
def test_symbols_are_those_of_the_rule_itself(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a block of the tokens and one more, or of the tensors of two parameters; and they have to agree."""
    sizes, determinant = list[int](), optimizers._determinant

    def watched(matrix: Any, more: int = 0) -> Any:
        sizes.append(matrix.rows)
        return determinant(matrix) + more

    monkeypatch.setattr(optimizers, "_determinant", watched)
    assert optimizers.symbolically(rule, 2)
    assert sizes == [{"sign": 2, "heavy-ball": 4, "adam": 6, "adamw": 6}.get(rule, 3)]
    monkeypatch.setattr(optimizers, "_determinant", lambda matrix: watched(matrix, 1))
    assert not optimizers.symbolically(rule, 2)
