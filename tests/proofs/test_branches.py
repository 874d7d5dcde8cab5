"""Witnesses of kinks and jumps: which branches are analytic, what a segment shows, and what is drawn for it."""

from fractions import Fraction
from typing import Any

import pytest

from proofs import InvalidInput
from proofs.kernel import branches
from proofs.kernel.branches import Witness, fixed_branches_are_analytic, inputs_at, recheck, shown
from proofs.network.graph import Graph
from proofs.provers.branches import written
from tests.proofs.building import Net

HALF, UNIT = Fraction(1, 2), (Fraction(0), Fraction(1))


def parameter(net: Net) -> int:
    return net.parameter("x", 1, 1, 2)


def exponential(net: Net) -> int:
    """Above 0."""
    return net.op("exp", parameter(net))


def with_row(net: Net, x: int, vocabulary: int = 2) -> Graph:
    """A value beside a row of a table, so that there is a prompt."""
    row = net.op("take", net.parameter("embedding", vocabulary, 1), net.tokens(1, vocabulary), axis=0)
    return net.graph(net.op("add", x, net.op("multiply", row, net.constant(0))))


FIXED: dict[str, Any] = {
    "relu": (lambda n, x: n.op("relu", x), True),
    "absolute": (lambda n, x: n.op("absolute", x), True),
    "leaky": (lambda n, x: n.op("leaky_relu", x, slope=HALF), True),
    "elu": (lambda n, x: n.op("elu", x, scale=Fraction(2)), True),
    "clamp": (lambda n, x: n.op("clamp", x, low=-HALF, high=HALF), True),
    "maximum": (lambda n, x: n.op("maximum", x, n.parameter("y", 2)), True),
    "largest": (lambda n, x: n.op("largest", x, axes=(2,), keep=True), True),
    "top": (lambda n, x: n.op("top_values", x, axis=2, count=1), True),
    "places": (lambda n, x: n.op("take", n.parameter("t", 2), n.op("top_indices", x, axis=2, count=1), axis=0), True),
    "no place": (
        lambda n, x: n.op("take", n.parameter("t", 1), n.op("top_indices", x, axis=2, count=1), axis=0), False
    ),
    "compared": (lambda n, x: n.op("as_real", n.op("greater", x, n.constant(0))), True),
    "floor": (lambda n, x: n.op("as_real", n.op("floor", x)), True),
    "logarithm": (lambda n, x: n.op("log", x), False),
    "root": (lambda n, x: n.op("sqrt", n.op("power", x, exponent=2)), False),
    "logarithm of a relu": (lambda n, x: n.op("log", n.op("relu", n.op("exp", x))), False),
    "logarithm of a limit above": (lambda n, x: n.op("log", n.op("clamp", n.op("exp", x), low=HALF, high=None)), True),
    "logarithm of a limit below": (
        lambda n, x: n.op("log", n.op("clamp", n.op("exp", x), low=None, high=-HALF)), False
    ),
    "logarithm of the larger": (
        lambda n, x: n.op("log", n.op("maximum", n.op("exp", x), n.constant(Fraction(-1)))), False
    ),
    "over a place": (
        lambda n, x: n.op("divide", n.constant(1), n.op("as_real", n.op("top_indices", x, axis=2, count=1))), False
    ),
    "masked, cut off": (lambda n, x: n.op("relu", n.op("add", x, n.constant(float("-inf")))), False),
    "masked, the larger": (
        lambda n, x: n.op("maximum", n.op("add", x, n.constant([0, float("-inf")], (2,))), n.parameter("y", 2)), False
    ),
    "masked": (lambda n, x: n.op("add", x, n.constant(float("-inf"))), False),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FIXED))
def test_with_every_choice_held_fixed_what_is_left_is_analytic_or_not(name: str) -> None:
    build, analytic = FIXED[name]
    net = Net()
    build(net, parameter(net))
    assert fixed_branches_are_analytic(net.graph()) is analytic


def given(**values: int) -> Any:
    """Draws that stand for all: of a parameter the same at each seed, or `name_1` at the second."""

    def entries(name: str, seed: int, count: int) -> tuple[int, ...]:
        return (values.get(f"{name}_{seed}", values.get(name, 0)),) * count

    return entries


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what is drawn, in units of 2^-16."""

    def draw(**values: int) -> None:
        monkeypatch.setattr("proofs.kernel.branches._entries", given(**values))
        branches._ends.cache_clear()

    yield draw
    branches._ends.cache_clear()


def kink(tokens: tuple[int, ...] = (0,), claim: str = "not analytic", **other: Any) -> dict[str, Any]:
    return written(Witness(claim, (0, 1), UNIT, tokens, -1, "0.1", **other))


def test_a_kink_is_shown_where_the_branches_are_analytic(drawn: Any) -> None:
    drawn(x_0=-(2**16), x_1=2**16)
    smooth, rough = Net(), Net()
    bent = smooth.op("relu", parameter(smooth))
    assert recheck(with_row(smooth, bent), kink())
    root = rough.op("sqrt", rough.op("power", rough.parameter("z", 1, 1, 2), exponent=2))
    assert not recheck(with_row(rough, rough.op("add", rough.op("relu", parameter(rough)), root)), kink())
    assert not recheck(with_row(smooth, bent), kink(claim="analytic"))


def test_a_witness_is_of_tokens_that_there_are(drawn: Any) -> None:
    """relu(p t (t - 1)) of a token t is 0 for the two that the vocabulary has."""
    drawn(x_0=-(2**16), x_1=2**16)
    net = Net()
    token = net.op("reshape", net.op("as_real", net.tokens(1, 2)), shape=(1, 1, 1))
    factor = net.op("multiply", token, net.op("subtract", token, net.constant(1)))
    graph = net.graph(net.op("relu", net.op("multiply", parameter(net), factor)))
    assert not any(recheck(graph, kink((token,))) for token in (-1, 0, 1, 2, 9))


def step(entries: int) -> Graph:
    """The sum of some steps, of entries of one parameter or of one each."""
    net = Net()
    above = net.op("as_real", net.op("greater", net.parameter("p", 1, 1, entries), net.constant(0)))
    return with_row(net, net.op("sum", above, axes=(2,), keep=True))


@pytest.mark.parametrize(("entries", "jumps"), [(1, True), (2, False)])
def test_a_jump_is_between_two_neighbours(entries: int, jumps: bool, drawn: Any) -> None:
    """Where two entries of a choice change, there are values in between that no end shows."""
    drawn(p_0=-(2**16), p_1=2**16)
    witness = Witness("discontinuous", (0, 1), UNIT, (0,), 0, "0.9")
    assert recheck(step(entries), written(witness)) is jumps
    for choice in (-1, 1, 2):
        assert not recheck(step(1), written(Witness("discontinuous", (0, 1), UNIT, (0,), choice, "0.9")))
    for claim in ("smooth", "", "not continuous"):
        assert not recheck(step(1), written(Witness(claim, (0, 1), UNIT, (0,), 0, "0.9")))
    assert shown(step(1), witness) == "0.999999"  # of exactly 1, six digits below
    assert shown(step(1), Witness("not analytic", (0, 0), UNIT, (0,), 0, "0.9")) is None


def test_more_than_is_shown_is_not_accepted(drawn: Any) -> None:
    drawn(p_0=-(2**16), p_1=2**16)
    for stated, accepted in (("0.999999", True), ("1", False), ("0", False), ("-1", False)):
        assert recheck(step(1), written(Witness("discontinuous", (0, 1), UNIT, (0,), 0, stated))) is accepted


def test_parameters_are_what_is_said_to_be_drawn() -> None:
    """k / 2^16 with |k| <= 2^16, times 2^largest."""
    net = Net()
    graph = net.graph(net.parameter("x", 500))
    for largest in (0, 3):
        ends = [
            [Fraction(int(e.man_exp()[0])) * Fraction(2) ** int(e.man_exp()[1]) for e in found]
            for place in (0, 1)
            for found in [inputs_at(graph, (5, 6), place, (), largest)["x"]]
        ]
        assert ends[0] != ends[1]
        for values in ends:
            scaled = [value * 2**16 / 2**largest for value in values]
            assert all(k.denominator == 1 and abs(k) <= 2**16 for k in scaled)
            assert max(map(abs, scaled)) > 2**15 and min(scaled) < 0 < max(scaled)
    again = inputs_at(graph, (5, 6), 0, (), 0)["x"]
    assert [Fraction(k, 2**16) for k in branches._entries("x", 5, 500)] == [
        Fraction(int(e.man_exp()[0])) * Fraction(2) ** int(e.man_exp()[1]) for e in again
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("bits", 63), ("bits", 4097), ("bits", True), ("largest", -1), ("largest", 65), ("seeds", [0]),
     ("seeds", [0, 1, 2]), ("tokens", [True]), ("parameters", "drawn otherwise"), ("parameters", "zero"),
     ("separation", 1), ("segment", ["0"]), ("choice", None)],
)  # fmt: skip
def test_a_witness_that_is_not_whole_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="a complete witness"):
        recheck(step(1), {**kink(), name: value})
