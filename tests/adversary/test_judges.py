"""The judges see what is false: claims that no kernel would accept are held against evaluation, and contradicted."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from proofs import certify_separation, certify_vocabulary, prove_analytic
from proofs.kernel.branches import Witness
from proofs.network.graph import Graph
from proofs.provers.branches import find_witness, written
from tests.adversary import classes, distances, prompts, training
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import PROMPTS, weights_of
from tests.proofs.mutating import placed


def of_parameter(build: Callable[[Net, int], int]) -> Graph:
    net = Net()
    net.tokens(2, 3)
    return net.graph(build(net, net.parameter("p", 1, 2, 2)))


SMOOTH = of_parameter(lambda net, p: net.op("tanh", p))
KINK = of_parameter(lambda net, p: net.op("relu", p))
SOFTER = of_parameter(lambda net, p: net.op("power", net.op("relu", p), exponent=2))
JUMP = of_parameter(lambda net, p: net.op("as_real", net.op("greater", p, net.constant(0))))


def test_prompts_that_differ_and_prompts_that_collide() -> None:
    net = Net()
    graph = net.graph(net.op("take", net.parameter("embedding", 5, 2), net.tokens(2, 5), axis=0))
    apart, alike = ((1, 2), (2, 1)), ((1, 2), (3, 2))
    for pair, kind, false in ((apart, "collide", 1), (apart, "differ", 0), (alike, "differ", 1), (alike, "collide", 0)):
        assert prompts.judged({2: graph}, {pair: kind}, 0)["contradicted"] == false


@pytest.mark.parametrize(
    ("place", "to", "false"), [(3, "1/2", True), (1, "0", True), (4, False, False), (2, False, False)]
)
def test_bounds_that_are_too_narrow(place: int, to: Any, false: bool) -> None:
    certificate = prove_analytic(SMOOTH).to_json()
    line = certificate["lines"][-1]
    assert classes.of_lines(certificate, 0)["contradicted"] == 0
    assert bool(classes.of_lines(placed(certificate, ["facts", line, place], to), 0)["contradicted"]) == false


def test_a_strict_end_that_is_met() -> None:
    certificate = prove_analytic(of_parameter(lambda net, p: net.op("power", p, exponent=2))).to_json()
    line = certificate["lines"][-1]
    assert certificate["facts"][line][1:3] == ["0", False]
    assert classes.of_lines(placed(certificate, ["facts", line, 2], True), 0)["contradicted"] > 0


@pytest.mark.parametrize(
    ("graph", "claimed", "false"),
    [(KINK, "C0", False), (KINK, "C1", True), (KINK, "analytic", True), (SOFTER, "C1", False), (SOFTER, "C2", True),
     (SOFTER, "analytic", True), (JUMP, "C0", True), (SMOOTH, "analytic", False), (SMOOTH, "polynomial", True),
     (SMOOTH, "constant", True), (KINK, "polynomial", True)],
)  # fmt: skip
def test_classes(graph: Graph, claimed: str, false: bool) -> None:
    certificate = placed(prove_analytic(graph).to_json(), ["claim", "regularity"], claimed)
    found = sum(classes.of_lines(certificate, seed)["contradicted"] for seed in range(4))
    assert bool(found) == false


@pytest.mark.parametrize(("claim", "separation"), [("not analytic", "0.1"), ("discontinuous", "0.001")])
def test_witnesses(claim: str, separation: str) -> None:
    certificate = prove_analytic(SMOOTH).to_json()
    witness = written(Witness(claim, (0, 1), (Fraction(0), Fraction(1)), (1, 2), 0, separation))
    assert classes.of_witness({**certificate, "witness": witness})["contradicted"] == 1
    graph = KINK if claim == "not analytic" else JUMP
    true = find_witness(graph)
    assert true is not None
    assert true.claim == claim
    certificate = {**prove_analytic(graph).to_json(), "witness": written(true)}
    assert classes.of_witness(certificate)["contradicted"] == 0


def test_distances() -> None:
    graph = attention_net()
    weights = weights_of(graph)
    certificate = certify_separation(graph, weights, PROMPTS).to_json()
    assert distances.of_separation(certificate, weights)["contradicted"] == 0
    least = float(certificate["claim"]["minimum_lower_bound"])
    more = placed(certificate, ["claim", "minimum_lower_bound"], repr(least * 1.01))
    assert distances.of_separation(more, weights)["contradicted"] > 0
    other = placed(certificate, ["identical", 0], {"first": 0, "second": 1})
    assert distances.of_separation(other, weights)["contradicted"] > 0
    radius = ["prompts", 0, "enclosures", -1, "radius", -1]
    assert distances.of_separation(placed(certificate, radius, 0), weights)["contradicted"] == 1


def test_margins() -> None:
    graph = attention_net()
    weights = weights_of(graph)
    certificate = certify_vocabulary(graph, weights, [0, 1], 5).to_json()
    assert distances.of_margin(certificate, weights)["contradicted"] == 0
    more = placed(certificate, ["claim", "minimum_lower_bound"], lambda text: repr(float(text) * 1.01))
    assert distances.of_margin(more, weights)["contradicted"] == 1
    fewer = placed(certificate, ["claim", "certified"], 9)
    assert distances.of_margin(fewer, weights)["contradicted"] == 1


def test_determinants(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(training, "of_step", lambda certificate: kept.append(certificate))
    training.stepped(1)
    monkeypatch.undo()
    assert training.of_step(kept[0])["contradicted"] == 0
    other = placed(kept[0], ["claim", "batch", "radius"], "0")
    assert training.of_step(other)["contradicted"] == 1
