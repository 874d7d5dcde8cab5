"""Graphs as a careful forger would write them: leaves that contradict each other, numbers that are none."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from proofs import InvalidInput, Verdict, check, prove_analytic
from proofs.network.rational import decimal, rational
from tests.proofs.building import Net
from tests.proofs.mutating import assert_rejected


def net_of(build: Any) -> dict[str, Any]:
    net = Net()
    build(net)
    return json.loads(json.dumps(prove_analytic(net.graph()).to_json()))


def two_prompts(net: Net) -> None:
    net.tokens(length=7)
    net.op("take", net.parameter("e", 5, 4), net.tokens(2), axis=0)


def two_tables(net: Net) -> None:
    net.op("add", net.parameter("p", 1, 2, 4), net.op("parameter", name="p", shape=(1, 1, 4), kind="real"))


def flat_tokens(net: Net) -> None:
    net.op("tokens", shape=(3,), kind="integer", vocabulary=5)


def no_vocabulary(net: Net) -> None:
    tokens = net.tokens(3, 1)
    net.nodes[tokens] = replace(net.nodes[tokens], attributes={**net.nodes[tokens].attributes, "vocabulary": 0})
    net.op("take", net.parameter("e", 5, 4), tokens, axis=0)


@pytest.mark.parametrize(
    ("build", "reason"),
    [(two_prompts, "one shape"), (two_tables, "stands twice"), (flat_tokens, "one shape"),
     (no_vocabulary, "there are no tokens")],
)  # fmt: skip
def test_leaves_that_contradict_each_other_are_refused(build: Any, reason: str) -> None:
    assert_rejected(net_of(build), reason)


def test_infinity_is_no_real_number() -> None:
    for values in (float("inf"), [float("inf"), *[0] * 7]):
        net = Net()
        net.op("add", net.parameter("p", 1, 2, 4), net.constant(values, (1, 2, 4)))
        found = prove_analytic(net.graph())
        assert str(found.regularity) == "unproved"
        assert check(found).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "build",
    [
        lambda n, x: n.op("relu", n.op("negate", n.op("sigmoid", x))),
        lambda n, x: n.op("maximum", n.constant(2, (1, 2, 4)), n.op("sigmoid", x)),
        lambda n, x: n.op("minimum", n.constant(-2, (1, 2, 4)), n.op("sigmoid", x)),
        lambda n, x: n.op(
            "relu", n.op("take", n.constant([-1, -2, -2], (3,)), n.op("remainder", n.op("floor", x), by=3), axis=0)
        ),
    ],
)
def test_what_is_not_defined_everywhere_is_not_constant(build: Any) -> None:
    """log x has no value at x <= 0: a function of it that would be cut off still has none."""
    net = Net()
    build(net, net.op("log", net.parameter("x", 1, 2, 4)))
    found = prove_analytic(net.graph())
    assert str(found.regularity) == "unproved"
    assert check(found).verdict is Verdict.ACCEPTED


def test_short_texts_of_enormous_numbers_are_refused_at_once() -> None:
    assert rational("-1/3") == Fraction(-1, 3)
    assert decimal("1.5e-05") == Fraction(3, 200000)
    for text in ("1e999999999", "1/0", "1.5", " 1", "1_0", "٣", "9" * 2000, 1, None, ""):
        with pytest.raises(InvalidInput, match="exact rational"):
            rational(text)
    for text in ("1e9999", "1/2", "nan", "inf", 1.5):
        with pytest.raises(InvalidInput, match="exact rational"):
            decimal(text)
