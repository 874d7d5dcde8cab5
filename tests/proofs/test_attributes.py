"""Attributes of nodes are of the type that their operation reads, in every graph of every kind of certificate."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from proofs import Graph, Verdict, certify_separation, check, prove_analytic
from proofs.door import KINDS
from proofs.kernel.collisions import find_collisions
from proofs.kernel.result import digest
from proofs.provers.vocabulary import certify_vocabulary
from proofs.recomputed.training_step import Sample, prove_step
from proofs.recomputed.witness import count_witness
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net
from tests.proofs.decoders import gpt2, weights_of
from tests.proofs.mutating import signed, with_lengths

HALF, VOCABULARY, WIDTH = Fraction(1, 2), 5, 2
OF_OTHER_TYPES = (float("nan"), float("inf"), 1e308, "1/2", True, 1, None, {"exact": "1/2"}, [True])
ABSENT = {"low", "high", "value"}  # of a clamp on one side, of a constant that nobody knows


def rows(net: Net, length: int, vocabulary: int = VOCABULARY) -> int:
    return net.op("take", net.parameter("e", vocabulary, WIDTH), net.tokens(length, vocabulary), axis=0)


def bent(length: int) -> Graph:
    """All operations with rational attributes, and some with others, over a mean over the prompt."""
    net = Net()
    x = net.op("power", rows(net, length), exponent=2)
    x = net.op("clamp", x, low=-HALF, high=HALF)
    x = net.op("elu", net.op("leaky_relu", x, slope=HALF), scale=Fraction(1))
    x = net.op(
        "mean", net.op("layer_norm", net.op("softplus", x, beta=HALF), axes=1, epsilon=HALF), axes=(1,), keep=True
    )
    scores = net.op("matmul", x, net.constant([HALF, 1], (1, WIDTH, 1)))
    return net.graph(
        net.op("expand", net.op("multiply", net.op("softmax", scores, axis=2), x), shape=(1, length, WIDTH))
    )


def smooth(length: int) -> Graph:
    net = Net()
    x = net.op("layer_norm", net.op("softplus", rows(net, length), beta=HALF), axes=1, epsilon=HALF)
    return net.graph(x)


def classified() -> Graph:
    """The last token's logits."""
    net = Net()
    last = net.op("slice", net.op("softplus", rows(net, 2, 3), beta=HALF), axis=1, start=1, stop=2, step=1)
    return net.graph(net.op("reshape", net.op("matmul", last, net.parameter("u", WIDTH, 3)), shape=(1, 3)))


def certificates() -> dict[str, tuple[dict[str, Any], Any]]:
    """One of every kind, and the weights that it is about."""
    lengths = {length: bent(length) for length in (1, 2)}
    others = {"1": lengths[1].to_json()}
    proof = with_lengths(prove_analytic(lengths[2]).to_json(), find_collisions(lengths), others)
    weights = weights_of(bent(3))
    one = Sample((0, 1), (Fraction(1), Fraction(0), Fraction(0)))
    made: dict[str, tuple[Any, Any]] = {
        "regularity": (proof, None),
        "witness": (count_witness({1: gpt2(1)}, vocabulary=3, context=1).to_json(), None),
        "generic-position": (examine({n: smooth(n) for n in (1, 2)}, context=2).to_json(), None),
        "training-step": (prove_step(classified(), [one], rule="gd", rate=Fraction(1, 10), seed=0).to_json(), None),
        "separation": (certify_separation(bent(3), weights, [(0, 1, 2), (0, 3, 4)]).to_json(), weights),
        "vocabulary-margin": (certify_vocabulary(smooth(2), weights, (1,), VOCABULARY).to_json(), weights),
    }
    return {kind: (json.loads(json.dumps(data)), weights) for kind, (data, weights) in made.items()}


MADE = certificates()


def attributes(data: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every set of attributes of every graph in a certificate, with each name in it."""
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from attributes(value)
    if isinstance(data, dict) and {"nodes", "attributes"} <= data.keys():
        yield from ((row, name) for row in data["attributes"] for name in row)


def wrong(honest: Any, name: str) -> list[Any]:
    """Values of other types than the honest one."""
    return [
        value
        for value in OF_OTHER_TYPES
        if type(value) is not type(honest) and (value is not None or name not in ABSENT)
    ]


def fitted(data: dict[str, Any]) -> dict[str, Any]:
    """With the digests that a careful forger would write."""
    if "closest" in data:
        data = {**data, "closest": fitted(data["closest"])}
    if "digest" in data:
        return signed(data, claim={**data["claim"], "graphs": [digest(graph) for graph in data["graphs"]]})
    claim = {name: digest(data[name]) for name in ("graph", "graphs") if name in data["claim"]}
    return {**data, "claim": {**data["claim"], **claim}}


def test_there_is_a_certificate_of_every_kind() -> None:
    assert set(MADE) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_attribute_of_another_type_is_refused_in_every_graph(kind: str) -> None:
    data, weights = MADE[kind]
    assert check(fitted(data), weights).verdict is Verdict.ACCEPTED
    seen = 0
    for row, name in attributes(data):
        honest = row[name]
        for value in wrong(honest, name):
            row[name] = value
            result = check(fitted(data), weights)
            assert (result.verdict, "digest" in result.reason) == (Verdict.REJECTED, False), (name, value)
            seen += 1
        row[name] = honest
    assert seen > 50


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_attribute_that_no_operation_knows_is_refused_in_every_graph(kind: str) -> None:
    data, weights = MADE[kind]
    rows = {id(row): row for row, _ in attributes(data)}.values()
    for row in rows:
        row["unheard-of"] = 1
        result = check(fitted(data), weights)
        assert (result.verdict, "unheard-of" in result.reason) == (Verdict.REJECTED, True)
        del row["unheard-of"]
