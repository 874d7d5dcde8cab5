"""Graphs as a careful forger would write them: leaves that contradict each other, numbers that are none."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from proofs import Graph, InvalidInput, Verdict, check, prove_analytic
from proofs.kernel.lengths import by_length, graphs_of
from proofs.kernel.regularity import statement
from proofs.kernel.result import Rejected, digest
from proofs.network.rational import decimal, rational
from proofs.regularity import CONTINUOUS
from tests.proofs.bombs import WITNESS
from tests.proofs.building import Net, attention_net
from tests.proofs.mutating import assert_rejected, with_lengths


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


@pytest.mark.parametrize("names", [(1, True), ("1", 1), (None, "p")])
def test_parameters_have_names_that_are_texts(names: tuple[Any, Any]) -> None:
    """1 and True are one key of a table: permuted prefixes were accepted of a network that weighs every place alone."""

    def graph(length: int, first: Any, second: Any) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 1), net.tokens(length, 9), axis=0)
        weights = [net.op("parameter", name=name, shape=(1, 1, 1), kind="real") for name in (first, second)]
        weighed = net.op("multiply", x, net.op("concatenate", *(weights[i % 2] for i in range(length)), axis=1))
        return net.graph(net.op("expand", net.op("sum", weighed, axes=(1,), keep=True), shape=(1, length, 1)))

    def certificate(*called: Any) -> dict[str, Any]:
        proof = prove_analytic(graph(2, *map(str, called))).to_json()
        return with_lengths(proof, [], {"3": graph(3, *called).to_json()})

    honest = check(certificate("1", "True"))
    assert honest.claim is not None
    assert honest.claim.sentence.endswith("and of longer prompts nothing is claimed.")
    refused = check(certificate(*names))
    assert (refused.verdict, "under a name" in refused.reason) == (Verdict.REJECTED, True)


def test_a_parameter_called_as_the_prompt_is_shows_nothing() -> None:
    net = Net()
    read, prompt = net.parameter("tokens", 1, 1), net.tokens(1, 5)
    above = net.op("greater", prompt, net.constant(0, (), "integer"))
    kink = net.op("relu", net.op("select", above, net.constant(1), net.constant(-1)))
    sides = [net.op("relu", x) for x in (read, net.op("negate", read))]  # x = relu(x) - relu(-x): analytic in truth
    zero = net.op("subtract", net.op("subtract", *sides), read)
    graph = net.graph(net.op("reshape", net.op("add", kink, zero), shape=(1, 1, 1)))
    for seed in range(8):
        forged = prove_analytic(graph).to_json()
        witness = {**WITNESS, "seeds": [seed, seed + 1]}
        words = statement(graph, CONTINUOUS, witness)
        forged |= {"witness": witness, "claim": {**forged["claim"], "witness": digest(witness), "statement": words}}
        assert_rejected(forged, "witness: re-evaluated, it does not show what it claims")


@pytest.mark.parametrize("name", ["01", " 1", "1_0", "１", "2"])
def test_a_graph_stands_under_the_number_of_its_tokens_alone(name: str) -> None:
    with pytest.raises(Rejected, match="under another length than its own"):
        by_length({name: attention_net(length=1).to_json()})
    assert set(by_length({str(n): attention_net(length=n).to_json() for n in (1, 2)})) == {1, 2}


def test_graphs_of_several_lengths_are_an_object_and_each_stands_once() -> None:
    one = attention_net(length=1).to_json()
    with pytest.raises(Rejected, match="no object"):
        by_length([one])
    with pytest.raises(Rejected, match="two graphs are for 1 tokens"):
        graphs_of({"graph": one, "other_lengths": {"1": one}})
    two, wider = attention_net(length=2).to_json(), attention_net(length=2, vocabulary=6).to_json()
    assert set(graphs_of({"graph": one, "other_lengths": {"2": two}})) == {1, 2}
    for other in (wider, {**two, "layer": 2}, {**two, "layer": 0}):
        with pytest.raises(Rejected, match="has other parameters, or passes another number of blocks"):
            graphs_of({"graph": one, "other_lengths": {"2": other}})
