"""What a checker is given beside a certificate, and the sentence that it answers with."""

import json

import pytest

from proofs import Graph, InvalidInput, Verdict, certify_separation, check, prove_analytic
from proofs.kernel.collisions import find_collisions
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import PROMPTS, weights_of
from tests.proofs.mutating import with_lengths


def in_binary(length: int) -> Graph:
    """Rows of tokens times powers of two, added up: no two prompts have one sum."""
    net = Net()
    rows = net.op("take", net.parameter("embedding", 5, 2), net.tokens(length, 5), axis=0)
    weights = net.constant([2**place for place in range(length)], (1, length, 1))
    net.op("sum", net.op("multiply", rows, weights), axes=(1,), keep=True)
    return net.graph()


@pytest.mark.parametrize("name", ["steps", "workers"])
def test_at_least_one_is_asked_for(name: str) -> None:
    certificate = prove_analytic(attention_net()).to_json()
    with pytest.raises(InvalidInput, match=f"at least 1 for {name}"):
        check(certificate, **{name: 0})
    assert check(certificate, **{name: 1}).verdict is Verdict.ACCEPTED


def test_where_no_family_is_derived_the_sentence_says_of_which_lengths() -> None:
    graphs = {length: in_binary(length) for length in (2, 3)}
    assert find_collisions(graphs) == []
    proof = json.loads(json.dumps(prove_analytic(graphs[3]).to_json()))
    found = check(with_lengths(proof, [], {"2": graphs[2].to_json()}))
    assert (found.verdict, found.claim and found.claim.verdict) == (Verdict.ACCEPTED, Verdict.PROVED)
    assert found.claim is not None
    assert "in the networks that the file gives for 2, 3 tokens: no family is derived" in found.claim.sentence


@pytest.mark.parametrize(("steps", "said"), [(None, "all of 4 steps"), (1, "1 of 4 steps")])
def test_an_answer_says_how_much_was_looked_at_again(steps: int | None, said: str) -> None:
    graph = attention_net()
    weights = weights_of(graph)
    found = check(certify_separation(graph, weights, PROMPTS[:4]), weights, steps=steps)
    assert found.verdict is (Verdict.ACCEPTED if steps is None else Verdict.ACCEPTED_SAMPLED)
    assert found.reason.startswith(f"{said} again in fixed point")
