"""A record names a theorem where what it rests on was found, and not beside."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs import prove_analytic
from proofs.formal.names import formal
from proofs.provers.analyticity import Obstructions
from proofs.provers.branches import with_witness
from proofs.theorems.two_blocks import pair
from sipit.claims.fields import checked, of_pair
from sipit.claims.verify import verify_record
from sipit.inversion.outcome import Inversion, Outcome, TokenResult, overall
from sipit.inversion.record import inversion_record
from sipit.noise.tolerance import Tolerance
from tests.field.places import called
from tests.proofs.building import attention_net
from tests.proofs.decoders import jumping
from tests.sipit.cases import tiny


def theorems(tmp_path, *arguments):
    path = tmp_path / "record.json"
    called("prove", *arguments, "-o", path)
    assert verify_record(path).verdict == "accepted"
    return {one["theorem"].partition(".")[2] for one in json.loads(path.read_text())["result"]["theorems"]}


@pytest.mark.parametrize(("context", "gap"), [(1, False), (2, True)])
def test_the_published_witness_fails_where_a_pair_is_in_its_gap(tmp_path, context, gap):
    found = theorems(tmp_path, "witness", "--context", context, "--vocabulary", 2)
    in_gap = {"published_witness_gap", "published_witness_fails_on_two_tokens"}
    assert found & in_gap == (in_gap if gap else set())
    assert ("repaired_witness" in found) is gap  # of single tokens none ends alike and differs before


@pytest.mark.parametrize(("rate", "named"), [("100", False), pytest.param("1/10", True, marks=pytest.mark.slow)])
def test_weight_decay_that_keeps_nothing_is_no_instance(tmp_path, rate, named):
    found = theorems(tmp_path, "training-step", "--optimizer", "weight-decay", "--rate", rate)
    assert ("weight_decay_det" in found) is named


@pytest.mark.parametrize(
    ("family", "first", "second", "claims"),
    [
        ("window reach", (0, 1, 3), (2, 1, 3), {"window reach"}),  # also where positions are absolute
        ("window reach", (0, 1, 3), (1, 3), {"window reach, two lengths"}),
        ("matched prefixes", *pair(), {"matched prefixes", "two words of 82 letters"}),
        ("matched prefixes", pair()[1], pair()[0], {"matched prefixes"}),  # as the command lists them, and not besides
        ("repeated tokens", (1,), (1, 1), {"repeated tokens"}),
    ],
    ids=["one length", "two lengths", "the words", "others", "runs"],
)
def test_a_pair_names_what_it_is_an_instance_of(family, first, second, claims):
    """The theorem about two lengths, and rows without positions, stood beside every pair that a window hides."""
    assert {*of_pair(family, first, second)} == claims
    for claim in claims:
        assert formal(claim)


def answered(tokens):
    """An inversion with these outcomes, each with how many rivals later states told apart."""
    results = [
        TokenResult(place, 5, outcome, 0.0, 1.0, 1e-3, 1, 2, struck) for place, (outcome, struck) in enumerate(tokens)
    ]
    ids = [5] * len(results)
    return Inversion(overall(one.outcome for one in results), ids, None, [], results, 0, 0, 0, 0.0)


TOKENS = st.lists(st.tuples(st.sampled_from(Outcome), st.integers(0, 1)), min_size=1, max_size=3)


@settings(deadline=None, max_examples=12)
@given(st.lists(TOKENS, min_size=1, max_size=3), st.booleans())
def test_an_inversion_names_the_theorems_of_what_came_out(prompts, boxed):
    """Those of a decision and of a prompt stood beside `not_found` too, with "every position was accepted" checked."""
    model = tiny("gpt2")
    states = sipit.capture(model, [[5] * len(tokens) for tokens in prompts], layer=1)
    record = inversion_record(
        model, states, policy="exhaustive", tolerance=Tolerance(1e-3, "given", "", boxed=float(boxed)),
        elsewhere=lambda *_: [answered(tokens) for tokens in prompts],
    )  # fmt: skip
    by_rule = [outcome is Outcome.RECOVERED and not struck for tokens in prompts for outcome, struck in tokens]
    named = {"decision"} if any(by_rule) and not boxed else set()
    named |= {"inversion"} if all(by_rule) and not boxed else set()
    assert {one["claim"] for one in record.result["theorems"]} == named


def test_of_ids_of_experts_no_rule_decides():
    model = tiny("mixtral")
    record = inversion_record(model, sipit.capture(model, [[5]], layer=0, observe="experts"), tolerance=1e-6)
    assert record.result["theorems"] == []


@pytest.mark.parametrize(
    ("graph", "named"),
    [
        (attention_net(), True), (attention_net(activation="relu"), True), (attention_net(activation="?"), False),
        (jumping(), False),
    ],
    ids=["analytic", "kink", "unknown", "jump"],
)  # fmt: skip
def test_theorems_about_classes_stand_beside_a_class_that_is_proved(graph, named):
    found = prove_analytic(graph)
    found = (with_witness(found) if isinstance(found, Obstructions) else found).to_json()
    theorems = checked(found)["theorems"]
    assert {one["claim"] for one in theorems} == ({"bounds", "classes"} if named else set())
    for one in theorems:  # the premise is of the checker that is extracted from the proof, which does not run here
        assert any("extracted" in text for text in one["idealised"])
        assert all("by the rules of the kernel" in text for text in one["checked"])
