"""Certificates of separation on small graphs, without torch: they hold, are checked, and no change gets through."""

import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs import InvalidInput, Verdict, certify_separation, check
from proofs.arithmetic.ball import Balls
from proofs.enclosures.closest import Crowd
from proofs.enclosures.distances import decimal_below, lower_bound, separation
from proofs.enclosures.enclosure import Enclosure
from proofs.enclosures.in_arb import balls_of
from proofs.enclosures.segments import STATE, cuts, segments
from proofs.errors import Unsupported
from proofs.kernel import separation as checker
from proofs.kernel.result import digest
from proofs.operations.interpreter import evaluate
from proofs.provers import separation as prover
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import PROMPTS, weights_of
from tests.proofs.mutating import changed, placed, signed


@pytest.fixture(scope="module")
def graph() -> Any:
    return attention_net()


@pytest.fixture(scope="module")
def weights(graph: Any) -> dict[str, Any]:
    return weights_of(graph)


@pytest.fixture(scope="module")
def certificate(graph: Any, weights: dict[str, Any]) -> dict[str, Any]:
    return certify_separation(graph, weights, PROMPTS).to_json()


def test_the_same_prompt_is_named_and_all_others_are_apart(graph: Any, weights: dict[str, Any]) -> None:
    found = certify_separation(graph, weights, PROMPTS)
    assert found.verdict is Verdict.COLLISION
    assert [pair.to_json() for pair in found.identical] == [{"first": 0, "second": 4, "family": "same prompt"}]
    assert (found.pairs, found.certified) == (10, 9)
    assert certify_separation(graph, weights, PROMPTS[:4]).verdict is Verdict.SEPARATED
    assert check(found, weights).verdict is Verdict.ACCEPTED


def test_the_bound_is_below_the_distance_in_arb_and_close_to_it(graph: Any, weights: dict[str, Any]) -> None:
    found = certify_separation(graph, weights, PROMPTS[:4])
    with Balls(300) as balls:
        inputs = {name: balls_of(value) for name, value in weights.items()}
        states = [evaluate(graph, {"tokens": np.array([p]), **inputs}, balls)[0, -1] for p in PROMPTS[:4]]
        pairs = [(a, b) for i, a in enumerate(states) for b in states[i + 1 :]]
        distances = [sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), start=0).sqrt() for a, b in pairs]
        least = min(float(distance.lower()) for distance in distances)
    assert found.found.minimum is not None
    assert least * (1 - 1e-6) < float(found.found.minimum) <= least


def test_duplicate_rows_are_never_certified(graph: Any, weights: dict[str, Any]) -> None:
    doubled = {**weights, "embedding": weights["embedding"].copy()}
    doubled["embedding"][3] = doubled["embedding"][2]
    doubled["embedding"][2, 0], doubled["embedding"][3, 0] = 0.0, -0.0
    found = certify_separation(graph, doubled, PROMPTS[:2])
    assert (found.verdict, found.certified) == (Verdict.COLLISION, 0)
    assert found.identical[0].family == "equal embedding rows"
    assert found.to_json()["claim"]["minimum_lower_bound"] is None
    assert check(found, doubled).verdict is Verdict.ACCEPTED


def test_repeated_tokens_are_named_across_lengths() -> None:
    graphs = [attention_net(length=n) for n in (2, 3)]
    weights = weights_of(graphs[0])
    found = certify_separation(graphs, weights, [(1, 1), (1, 1, 1), (2, 1, 1)])
    assert [(p.first, p.second, p.family) for p in found.identical] == [(0, 1, "repeated tokens")]
    assert check(found, weights).verdict is Verdict.ACCEPTED


def test_the_checker_needs_the_weights(certificate: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="got none; pass them by name"):
        check(certificate)
    with pytest.raises(InvalidInput, match="pass arrays by name"):
        check(certificate, weights=3)


def flipped(text: str) -> str:
    return text[:3] + ("A" if text[3] != "A" else "B") + text[4:]


FORGERIES = {
    "bound": (("claim", "minimum_lower_bound"), "9.99999999999e+9"),
    "bound a little": (("claim", "minimum_lower_bound"), lambda s: s[:12] + str((int(s[12]) + 1) % 10) + s[13:]),
    "certified": (("claim", "certified"), 10),
    "pairs": (("claim", "pairs"), 11),
    "statement": (("claim", "statement"), "All states are apart."),
    "graph digest": (("claim", "graphs"), ["0" * 64]),
    "weights digest": (("weights", "sha256"), "0" * 64),
    "prompt": (("prompts", 0, "token_ids", 2), 4),
    "prompt outside": (("prompts", 0, "token_ids", 2), 5),
    "prompt shorter": (("prompts", 0, "token_ids"), [0, 1]),
    "layer": (("layer",), 2),
    "bits": (("bits",), lambda b: b + 1),
    "bits of all prompts": (("prompts", 0, "bits"), lambda b: b + 40),
    "bits of an enclosure": (("prompts", 1, "enclosures", -1, "bits"), lambda b: b - 1),
    "radius": (("prompts", 1, "enclosures", -1, "radius", 0), 0),
    "state": (("prompts", 1, "enclosures", -1, "mantissa"), flipped),
    "bytes": (("prompts", 1, "enclosures", -1, "bytes"), lambda b: b + 1),
    "equal pair left out": (("identical",), []),
    "equal pair invented": (("identical", 0, "second"), 3),
    "open pair invented": (("unresolved",), [[0, 1]]),
    "parameter": (("graphs", 0, "nodes", 3, 0), "tanh"),
    "graph layer": (("graphs", 0, "layer"), 2),
    "every": (("every",), 0),
    "shape": (("graphs", 0, "types", -1, 0), [1, 3, 5]),
    "two graphs of a length": (("graphs",), lambda graphs: [*graphs, graphs[0]]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_every_change_is_rejected(name: str, certificate: dict[str, Any], weights: dict[str, Any]) -> None:
    path, to = FORGERIES[name]
    assert check(changed(certificate, *path, to=to), weights).verdict is Verdict.REJECTED
    plain = check(changed(certificate, *path, to=to, sign=False), weights)
    assert plain.verdict is Verdict.REJECTED
    assert "digest" in plain.reason


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        (("prompts", 0, "token_ids", 1), True, "no tokens"),
        (("prompts", 0, "token_ids", 1), 1.0, "no tokens"),
        (("prompts", 0, "token_ids"), {"0": 0, "1": 1, "2": 2}, "no tokens"),
        (("prompts", 0, "token_ids"), [0, 1, 2, 3, 4, 0, 1], "a length that no graph is of"),
        (("prompts", 0), None, "no tokens"),
        (("prompts", 0, "token_ids", 1), 5, "outside the vocabulary"),
        (("prompts", 0, "token_ids", 1), -1, "outside the vocabulary"),
        (("prompts",), {"0": 1, "1": 2}, "no two prompts"),
        (("prompts",), lambda rows: rows[:1], "no two prompts"),
        (("prompts", 0, "enclosures"), {"0": 1}, "one enclosure per step"),
        (("prompts", 0, "enclosures"), lambda some: [*some, some[-1]], "one enclosure per step"),
        (("graphs",), {"0": 1}, "no graph, or no claim"),
        (("graphs",), [], "no graph, or no claim"),
        (("claim",), ["graphs"], "no graph, or no claim"),
        (("weights",), ["sha256"], "not those that the certificate names"),
        (("claim", "closest"), [0, 4], "another bound than the least"),
        (("claim", "closest"), [0, 1, 2], "none of two prompts"),
        (("claim", "closest"), [True, 2], "none of two prompts"),
        (("claim", "closest"), [-1, 1], "none of two prompts"),
        (("claim", "closest"), lambda pair: pair[::-1], "none of two prompts"),
    ],
)
def test_a_part_of_another_form_is_what_is_named(
    path: Any, to: Any, reason: str, certificate: dict[str, Any], weights: dict[str, Any]
) -> None:
    """Also what equals what belongs there, as `True` does 1: a digest that fits does not save it."""
    outcome = check(signed(placed(certificate, path, to)), weights)
    assert outcome.verdict is Verdict.REJECTED
    assert reason in outcome.reason


@pytest.mark.parametrize(("place", "reason"), [(1, "not well formed"), (3, "not of the type that its operation gives")])
def test_a_graph_that_is_not_well_formed_is_rejected(
    place: int, reason: str, certificate: dict[str, Any], weights: dict[str, Any]
) -> None:
    """The arguments of its last node, or the type of one on the way, which evaluation does not need."""
    rows = certificate["graphs"][0]["nodes"]
    number = -1 if place == 1 else next(i for i, row in enumerate(rows) if row[0] == "rsqrt")
    written = copy.deepcopy(rows)
    written[number][place] = [0] if place == 1 else rows[0][place]
    forged = placed(certificate, ("graphs", 0, "nodes"), written)
    forged = placed(forged, ("claim", "graphs"), [digest(graph) for graph in forged["graphs"]])
    outcome = check(signed(forged), weights)
    assert outcome.verdict is Verdict.REJECTED
    assert reason in outcome.reason


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_blocks_between_the_enclosures_that_stand_there_are_evaluated_again(
    monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """A chain of blocks of which every so many enclosures are written, from the last one back."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 6, 2), net.tokens(2, 6), axis=0)
    for block in range(5):
        inner = net.op("silu", net.op("matmul", x, net.parameter(f"up{block}", 2, 2)))
        x = net.op("add", x, net.op("matmul", inner, net.parameter(f"down{block}", 2, 2)))
    graph = replace(net.graph(), layer=5)
    weights = weights_of(graph)
    whole = certify_separation(graph, weights, [(0, 1), (2, 3)]).to_json()
    count = len(whole["prompts"][0]["enclosures"])
    assert count == 5
    monkeypatch.setattr(prover, "_size", lambda _written, at: prover.TRAIL_BYTES + 1 if at < every else 0)
    found = certify_separation(graph, weights, [(0, 1), (2, 3)]).to_json()
    assert found["every"] == every
    assert len(found["prompts"][0]["enclosures"]) == -(-count // every)
    assert found["prompts"][0]["enclosures"][-1] == whole["prompts"][0]["enclosures"][-1]
    assert check(found, weights).verdict is Verdict.ACCEPTED
    for other in {1, 2, 3, 5, 9} - {every}:
        if len(range(count)[::-other]) != len(found["prompts"][0]["enclosures"]):
            assert "one enclosure per step" in check(signed(found, every=other), weights).reason


@pytest.mark.parametrize("step", range(3))
def test_arb_alone_notices_an_enclosure_that_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, step: int, certificate: dict[str, Any], weights: dict[str, Any]
) -> None:
    """The second opinion, where fixed point is taken away: every step in Arb, and one state a little off."""
    monkeypatch.setattr(checker, "_expect_contained", lambda *_: None)
    monkeypatch.setattr(checker, "ASKED", 10**6)
    assert check(certificate, weights).verdict is Verdict.ACCEPTED
    last = certificate["prompts"][step]["enclosures"][-1]
    moved = Enclosure.from_json(last, 1, 4)
    middle = moved.mantissa.copy()
    middle[0, 0] += 2 * int(moved.radius[0]) + 2
    forged = placed(certificate, ("prompts", step, "enclosures", -1), replace(moved, mantissa=middle).to_json())
    monkeypatch.setattr(checker, "_expect_claims", lambda *_: None)
    outcome = check(signed(forged), weights)
    assert outcome.verdict is Verdict.REJECTED
    assert "the states do not lie in the enclosure" in outcome.reason


def test_other_weights_are_rejected(certificate: dict[str, Any], graph: Any, weights: dict[str, Any]) -> None:
    near = {**weights, "q": np.nextafter(weights["q"], np.float32(np.inf))}
    for other in (near, weights_of(graph, seed=1)):
        outcome = check(certificate, other)
        assert outcome.verdict is Verdict.REJECTED
        assert "weights" in outcome.reason


def test_an_observed_state_is_of_one_prompt_alone_or_it_is_said_which(graph: Any, weights: dict[str, Any]) -> None:
    prompts = [(0, 1, token) for token in range(5)]
    plain = certify_separation(graph, weights, prompts)
    state = plain.trails[3].state
    values = [float(Fraction(m, 2**state.bits)) + 1e-4 for m in state.mantissa[0].tolist()]
    for noise, matches in ((Fraction(1, 1000), (3,)), (Fraction(1, 10**6), ()), (Fraction(10**6), (0, 1, 2, 3, 4))):
        found = certify_separation(graph, weights, prompts, observed=(values, noise))
        assert found.observation is not None
        assert found.observation.matches == matches
        data = found.to_json()
        assert data["claim"]["unique"] == (matches == (3,))
        assert check(data, weights).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("old", "new"), [("silu", "gelu"), ("add", "subtract"), ("softmax", "nothing"), ("permute", "add")]
)
def test_another_graph_under_its_own_digest_is_rejected(
    certificate: dict[str, Any], weights: dict[str, Any], old: str, new: str
) -> None:
    forged = copy.deepcopy(certificate)
    node = next(node for node in forged["graphs"][0]["nodes"] if node[0] == old)
    node[0] = new
    forged["claim"]["graphs"] = [digest(graph) for graph in forged["graphs"]]
    assert check(signed(forged), weights).verdict is Verdict.REJECTED


OBSERVED_FORGERIES = (
    (("observation", "matches"), [1]), (("observation", "noise"), "1/100000000"), (("observation", "noise"), "-1"),
    (("observation", "values", 0), "0x1.8p+6"), (("observation", "values"), []), (("observation",), None),
    (("claim", "unique"), False),
)  # fmt: skip


@pytest.mark.parametrize(("path", "to"), OBSERVED_FORGERIES)
def test_changed_observations_are_rejected(graph: Any, weights: dict[str, Any], path: Any, to: Any) -> None:
    prompts = [(0, 1, token) for token in range(5)]
    state = certify_separation(graph, weights, prompts).trails[3].state
    values = [float(Fraction(m, 2**state.bits)) + 1e-4 for m in state.mantissa[0].tolist()]
    data = certify_separation(graph, weights, prompts, observed=(values, Fraction(1, 1000))).to_json()
    assert check(data, weights).verdict is Verdict.ACCEPTED
    assert check(changed(data, *path, to=to), weights).verdict is Verdict.REJECTED


def test_some_steps_can_be_checked_and_it_says_so(certificate: dict[str, Any], weights: dict[str, Any]) -> None:
    outcome = check(certificate, weights, steps=2)
    assert (outcome.verdict, outcome.lines) == (Verdict.ACCEPTED_SAMPLED, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(graph: Any, weights: dict[str, Any], value: float) -> None:
    bad = {**weights, "up": weights["up"].copy()}
    bad["up"][0, 0] = value
    with pytest.raises(InvalidInput, match="finite"):
        certify_separation(graph, bad, PROMPTS)


@pytest.mark.parametrize("prompts", [[(0, 1, 2)], [(0, 1), (0, 1, 2)], [(0, 1, 5), (0, 1, 2)], [(0, 1, -1), (0, 1, 2)]])
def test_prompts_that_do_not_fit_are_refused(graph: Any, weights: dict[str, Any], prompts: Any) -> None:
    with pytest.raises(InvalidInput):
        certify_separation(graph, weights, prompts)


@pytest.mark.parametrize("bad", [{"q": None}, {"q": np.zeros((3, 4))}, {"q": np.zeros((4, 4), dtype=np.int8)}])
def test_weights_that_do_not_fit_are_refused(graph: Any, weights: dict[str, Any], bad: dict[str, Any]) -> None:
    given = {name: value for name, value in {**weights, **bad}.items() if value is not None}
    with pytest.raises(InvalidInput):
        certify_separation(graph, given, PROMPTS)


def test_an_operation_without_enclosure_is_refused(weights: dict[str, Any]) -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", 5, 4), net.tokens(), axis=0)
    y = net.op("matmul", x, net.parameter("q", 4, 4))
    net.op("unheard_of", y)
    with pytest.raises(Unsupported, match="unheard_of"):
        certify_separation(net.graph(), weights, PROMPTS)


def test_no_parameter_may_pass_for_a_state(graph: Any) -> None:
    nodes = [replace(n, attributes={**n.attributes, "name": STATE}) if n.operation == "parameter" else n
             for n in graph.nodes]  # fmt: skip
    with pytest.raises(Unsupported):
        segments(replace(graph, nodes=tuple(nodes)), cuts(graph))


def test_a_chain_of_segments_is_the_network(graph: Any, weights: dict[str, Any]) -> None:
    places = cuts(graph)
    assert places[-1] == graph.output
    assert len(segments(graph, places)) == len(places)


def enclosure(values: list[int], radius: int = 1, bits: int = 64) -> Enclosure:
    mantissa = np.empty((1, len(values)), dtype=object)
    mantissa[0] = values
    return Enclosure(bits, mantissa, (radius,))


def test_the_least_bound_is_that_of_all_pairs_exactly() -> None:
    random = np.random.default_rng(3)
    states = [enclosure([int(v) << 40 for v in random.integers(-50, 50, 6)], 1 << 30) for _ in range(60)]
    states.append(enclosure([v + 5 for v in states[0].mantissa[0].tolist()], 1 << 30))
    found = separation(states, {(1, 2)})
    exact = {
        (i, j): lower_bound(states[i], states[j])
        for i in range(len(states)) for j in range(i + 1, len(states)) if (i, j) != (1, 2)
    }  # fmt: skip
    assert found.unresolved == tuple(sorted(pair for pair, bound in exact.items() if not bound))
    assert (0, 60) in found.unresolved
    assert found.minimum == min(bound for bound in exact.values() if bound)


@pytest.mark.parametrize("exponent", [400, 480, 560, 700, 900])
def test_enclosures_beyond_what_float64_squares_are_bounded_exactly(exponent: int) -> None:
    """A file chooses how large its enclosures are; one that says nothing leaves its pairs open."""
    states = [enclosure([k << 60, 3], 1) for k in range(4)]
    wide = [enclosure([1 << exponent, 0], 1 << exponent + 1), enclosure([-1 << exponent, 5], 1)]
    found = separation([*states, *wide])
    exact = {(i, j): lower_bound(a, b) for i, a in enumerate([*states, *wide])
             for j, b in enumerate([*states, *wide]) if i < j}  # fmt: skip
    assert found.unresolved == tuple(sorted(pair for pair, bound in exact.items() if not bound))
    assert found.minimum == min(bound for bound in exact.values() if bound)


@pytest.mark.parametrize("value", [2.0**480, 2.0**600, 2.0**1023, np.inf, np.nan])
def test_states_whose_squares_overflow_are_not_compared_in_float64(value: float) -> None:
    rows, radii = np.ones((3, 2)), np.ones(3)
    Crowd(rows * (2.0**479), radii)
    for mid, radius in ((rows * value, radii), (rows, radii * value), (rows, radii * -value)):
        with pytest.raises(Unsupported, match="squares"):
            Crowd(mid, radius)


def test_bounds_of_enclosures_on_different_grids() -> None:
    assert lower_bound(enclosure([3 << 64, 0], 0), enclosure([0, 4 << 70], 0, 70)) == 5
    assert lower_bound(enclosure([1 << 64], 1 << 63), enclosure([0], 1 << 63)) == 0


@pytest.mark.parametrize("value", [Fraction(1, 3), Fraction(10), Fraction(999999999999999, 10**9), Fraction(1, 7**90)])
def test_decimals_are_rounded_down(value: Fraction) -> None:
    written = Fraction(decimal_below(value))
    assert written <= value < written * (1 + Fraction(1, 10**10))


def test_enclosures_are_written_and_read_back() -> None:
    states = enclosure([-(2**200), 2**200, 0], 7)
    data = states.to_json()
    again = Enclosure.from_json(data, 1, 3)
    assert (again.mantissa == states.mantissa).all()
    assert (again.bits, again.radius) == (states.bits, states.radius)
    for bad in ({"bytes": 255}, {"mantissa": "!"}, {"radius": [-1]}, {"radius": []}, {"bits": 0}, {"bits": True}):
        with pytest.raises(InvalidInput):
            Enclosure.from_json({**data, **bad}, 1, 3)
    with pytest.raises(InvalidInput):
        Enclosure.from_json(data, 2, 3)
