"""Margins over a vocabulary: the closest of all pairs, certificates that hold, and no change that gets through."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest

from numerics.pairs.search import closest_pairs
from proofs import InvalidInput, Verdict, certify_separation, check
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.enclosures.closest import Crowd
from proofs.enclosures.continuations import Continuations, norms
from proofs.enclosures.in_arb import balls_of
from proofs.errors import Unsupported
from proofs.kernel.claim import Sample
from proofs.kernel.vocabulary import claim_of, others_at_least
from proofs.operations.interpreter import evaluate
from proofs.provers.separation import SeparationCertificate
from proofs.provers.vocabulary import certify_vocabulary
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import weights_of
from tests.proofs.mutating import changed, signed

PREFIX, TOKENS = (3, 1), 40


@pytest.fixture(scope="module")
def graph() -> Any:
    return attention_net(vocabulary=TOKENS)


@pytest.fixture(scope="module")
def weights(graph: Any) -> dict[str, Any]:
    weights = weights_of(graph)
    weights["embedding"][7] = weights["embedding"][4]
    weights["embedding"][4, 0], weights["embedding"][7, 0] = 0.0, -0.0
    return weights


@pytest.fixture(scope="module")
def certificate(graph: Any, weights: dict[str, Any]) -> dict[str, Any]:
    return certify_vocabulary(graph, weights, PREFIX, TOKENS).to_json()


@pytest.mark.parametrize("shape", [(2, 3), (5, 3), (700, 2), pytest.param((1500, 20), marks=pytest.mark.slow)])
def test_the_closest_pairs_are_those_of_an_exact_search(shape: tuple[int, int]) -> None:
    points = np.random.default_rng(1).normal(size=shape) + 3
    found = Crowd(points, np.zeros(len(points))).closest(9)
    exact = closest_pairs(points, count=9)
    assert [pair[1:] for pair in found] == [(pair.first, pair.second) for pair in exact]
    for (bound, *_), pair in zip(found, exact, strict=True):
        assert pair.distance - 1e-12 < bound <= pair.distance


def test_radii_are_taken_off_and_may_change_the_order() -> None:
    points = np.random.default_rng(2).normal(size=(1200, 8))
    radius = np.random.default_rng(3).uniform(0, 0.6, len(points))
    found = Crowd(points, radius).closest(50, workers=2)
    first, second = np.triu_indices(len(points), 1)
    bounds = np.linalg.norm(points[first] - points[second], axis=1) - radius[first] - radius[second]
    order = np.argsort(bounds)[:50]
    assert [pair[1:] for pair in found] == list(zip(first[order].tolist(), second[order].tolist(), strict=True))
    assert np.allclose([pair[0] for pair in found], bounds[order], atol=1e-12)
    assert found[0][0] < 0


def test_the_states_lie_in_their_enclosures(graph: Any, weights: dict[str, Any]) -> None:
    mid, radius = Continuations.of(graph, weights, PREFIX).states(range(TOKENS))
    with Balls(300) as balls:
        inputs = {name: balls_of(value) for name, value in weights.items()}
        for token in range(TOKENS):
            state = evaluate(graph, {"tokens": np.array([[*PREFIX, token]]), **inputs}, balls)[0, -1]
            for ball, m, r in zip(state, mid[token].tolist(), radius[token].tolist(), strict=True):
                assert abs(ball - flint.arb(m)) <= flint.arb(r)
    assert (norms(radius) >= np.linalg.norm(radius, axis=1)).all()


def test_the_bound_is_that_of_all_pairs_done_exactly(graph: Any, weights: dict[str, Any]) -> None:
    found = certify_vocabulary(graph, weights, PREFIX, TOKENS)
    exact = certify_separation(graph, weights, [(*PREFIX, token) for token in range(TOKENS)])
    assert found.duplicates == ((4, 7),)
    assert (found.verdict, found.pairs, found.claim["certified"]) == (Verdict.COLLISION, 780, 779)
    assert found.claim["minimum_lower_bound"] == exact.to_json()["claim"]["minimum_lower_bound"]
    assert found.claim["closest"] == list(exact.found.closest or ())
    assert found.others is not None
    assert exact.found.minimum is not None
    assert found.others > exact.found.minimum
    assert check(found, weights).verdict is Verdict.ACCEPTED


def test_a_few_tokens_are_all_done_exactly(graph: Any, weights: dict[str, Any]) -> None:
    found = certify_vocabulary(graph, weights, PREFIX, 3)
    assert (found.verdict, found.others, found.claim["certified"]) == (Verdict.SEPARATED, None, 3)
    data = found.to_json()
    assert check(data, weights).verdict is Verdict.ACCEPTED
    assert check(changed(data, "enclosures", "others_at_least", to="0.1"), weights).verdict is Verdict.REJECTED


def test_processes_give_the_same_certificate(graph: Any, weights: dict[str, Any], certificate: dict[str, Any]) -> None:
    assert certify_vocabulary(graph, weights, PREFIX, TOKENS, workers=2).to_json() == certificate
    assert check(certificate, weights, workers=2).verdict is Verdict.ACCEPTED


def test_the_second_opinion_says_how_much_it_saw(certificate: dict[str, Any], weights: dict[str, Any]) -> None:
    outcome = check(certificate, weights, steps=5, seed=3)
    assert (outcome.verdict, outcome.lines) == (Verdict.ACCEPTED, 5)  # the claim rests on all states, computed anew
    assert outcome.claim is not None
    assert (outcome.claim.sample, outcome.claim.second_opinion) == (None, Sample(5, TOKENS - 1, 3))
    assert "5 of these states in Arb as well" in outcome.reason
    assert "float64" in outcome.reason


def larger(text: str) -> str:
    return repr(float(text) * 1.001)


FORGERIES = {
    "bound": (("claim", "minimum_lower_bound"), "9.99999999999e+9"),
    "bound a little": (("claim", "minimum_lower_bound"), lambda s: s[:12] + str((int(s[12]) + 1) % 10) + s[13:]),
    "certified": (("claim", "certified"), 780),
    "pairs": (("claim", "pairs"), 781),
    "statement": (("claim", "statement"), "All states are apart."),
    "closest tokens": (("claim", "closest"), [0, 1]),
    "graph digest": (("claim", "graphs"), ["0" * 64]),
    "weights digest": (("weights", "sha256"), "0" * 64),
    "prefix": (("prefix", 0), 2),
    "prefix longer": (("prefix"), [3, 1, 1]),
    "prefix outside": (("prefix", 0), TOKENS),
    "prefix of text": (("prefix"), "31"),
    "no prefix": (("prefix",), []),
    "no enclosures": (("enclosures",), []),
    "tokens": (("tokens",), TOKENS - 1),
    "too many tokens": (("tokens",), TOKENS + 1),
    "layer": (("layer",), 2),
    "graph layer": (("graphs", 0, "layer"), 2),
    "bits": (("bits",), lambda b: b + 1),
    "duplicates left out": (("duplicates",), []),
    "duplicates invented": (("duplicates",), [[4, 7], [1, 2]]),
    "radius": (("enclosures", "largest_radius"), "1e-30"),
    "radius far too large": (("enclosures", "largest_radius"), "1.0"),
    "radius not a number": (("enclosures", "largest_radius"), "nan"),
    "other pairs": (("enclosures", "others_at_least"), larger),
    "other pairs much lower": (("enclosures", "others_at_least"), "1e-3"),
    "no other pairs": (("enclosures", "others_at_least"), None),
    "arithmetic": (("enclosures", "arithmetic"), "exact"),
    "other arithmetic": (("enclosures", "arithmetic"), "zero error"),
    "no closest": (("closest",), None),
    "closest: bound": (("closest", "claim", "minimum_lower_bound"), "9.99999999999e+9"),
    "closest: kind": (("closest", "kind"), "margin"),
    "closest: schema": (("closest", "schema"), "sipit/1"),
    "closest: prompt": (("closest", "prompts", 0, "token_ids", 2), 39),
    "closest: radius": (("closest", "prompts", 0, "enclosures", -1, "radius", 0), 0),
}


def resigned(certificate: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    """A change with all digests made to fit."""
    forged = changed(certificate, *(path if isinstance(path[0], str) else path[0]), to=to)
    if isinstance(forged["closest"], dict):
        forged["closest"] = signed(forged["closest"])
    return signed(forged)


@pytest.mark.parametrize("name", FORGERIES)
def test_every_change_is_rejected(name: str, certificate: dict[str, Any], weights: dict[str, Any]) -> None:
    path, to = FORGERIES[name]
    path = (path,) if isinstance(path, str) else path
    assert check(resigned(certificate, *path, to=to), weights, steps=1).verdict is Verdict.REJECTED
    plain = check(changed(certificate, *path, to=to, sign=False), weights, steps=1)
    assert plain.verdict is Verdict.REJECTED
    assert "digest" in plain.reason


@pytest.mark.parametrize("prefix", [(2, 1), (4, 1), (3, 0)])
def test_the_closest_cannot_stand_behind_another_prefix(
    prefix: tuple[int, ...], graph: Any, weights: dict[str, Any], certificate: dict[str, Any]
) -> None:
    tokens = [row["token_ids"][-1] for row in certificate["closest"]["prompts"]]
    other = certify_separation(graph, weights, [(*prefix, token) for token in tokens]).to_json()
    claim = certificate["claim"] | {"minimum_lower_bound": other["claim"]["minimum_lower_bound"]}
    forged = signed(certificate, closest=other, bits=other["bits"], claim=claim)
    assert check(forged, weights, steps=1).verdict is Verdict.REJECTED


def reclaimed(graph: Any, certificate: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A certificate with other parts, and a claim that follows from these, as a careful forger would write it."""
    forged = {**certificate, **parts}
    others = forged["enclosures"]["others_at_least"]
    claim = claim_of(
        forged["closest"], graph, forged["prefix"], forged["tokens"], forged["duplicates"], others and float(others)
    )
    return signed(certificate, **parts, bits=forged["closest"]["bits"], claim=claim)


def test_a_claim_that_follows_from_its_parts_does_not_save_them(
    graph: Any, weights: dict[str, Any], certificate: dict[str, Any]
) -> None:
    """Each part is wrong alone, and is what is named."""

    def reason(**parts: Any) -> str:
        outcome = check(reclaimed(graph, certificate, **parts), weights, steps=1)
        assert outcome.verdict is Verdict.REJECTED
        return outcome.reason

    def of(rows: list[tuple[int, ...]], **options: Any) -> dict[str, Any]:
        return certify_separation(graph, weights, rows, **options).to_json()

    assert check(reclaimed(graph, certificate), weights, steps=1).verdict is Verdict.ACCEPTED
    for duplicates in ([], [[4, 7], [1, 2]], [[7, 4]], [[4, 7], [9]]):
        assert "those with equal rows" in reason(duplicates=duplicates)
    tokens = [row["token_ids"][-1] for row in certificate["closest"]["prompts"]]
    for prefix in ((2, 1), (4, 1), (3, 0)):
        assert "other prompts" in reason(closest=of([(*prefix, token) for token in tokens]))
    second = [7 if token == 4 else token for token in tokens] if 4 in tokens else [7, *tokens[1:]]
    assert "other prompts" in reason(closest=of([(*PREFIX, token) for token in second]))
    many = [(*PREFIX, token) for token in [*tokens, *(t for t in range(TOKENS) if t not in {*tokens, 4, 7})][:17]]
    assert "too many" in reason(closest=of(many))
    assert "twice" in reason(closest=twice(certify_separation(graph, weights, [(*PREFIX, tokens[0])] * 2)))
    assert "no certificate of the closest" in reason_of(check(signed(certificate, closest=[]), weights))


def twice(named: SeparationCertificate) -> dict[str, Any]:
    """The certificate of one prompt that stands there twice, as of a pair that is left open instead of equal."""
    return replace(named, identical=(), found=replace(named.found, unresolved=((0, 1),))).to_json()


@pytest.mark.parametrize(
    "parts",
    [{"prefix": [3, True]}, {"prefix": [3.0, 1]}, {"prefix": "31"}, {"prefix": None}]
    + [{"tokens": tokens} for tokens in (float(TOKENS), str(TOKENS), None)],
)
def test_what_equals_a_whole_number_is_none(
    parts: dict[str, Any], certificate: dict[str, Any], weights: dict[str, Any]
) -> None:
    assert "not of integers" in reason_of(check(signed(certificate, **parts), weights))


def reason_of(outcome: Any) -> str:
    assert outcome.verdict is Verdict.REJECTED
    return outcome.reason


def test_a_closer_pair_cannot_be_hidden(graph: Any, weights: dict[str, Any], certificate: dict[str, Any]) -> None:
    """The exact part of other tokens, in place of that of the closest."""
    closest = {row["token_ids"][-1] for row in certificate["closest"]["prompts"]}
    others = [token for token in range(TOKENS) if token not in closest | {7}][:3]
    farther = certify_separation(graph, weights, [(*PREFIX, token) for token in others]).to_json()
    claim = certificate["claim"] | {"minimum_lower_bound": farther["claim"]["minimum_lower_bound"]}
    outcome = check(signed(certificate, closest=farther, bits=farther["bits"], claim=claim), weights, steps=1)
    assert outcome.verdict is Verdict.REJECTED
    assert "other pairs" in outcome.reason


def test_a_search_that_takes_too_long_is_no_fault_of_the_certificate(
    certificate: dict[str, Any], weights: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proofs.enclosures.closest.MOST_MEASURED", 0)
    assert check(certificate, weights, steps=1).verdict is Verdict.UNDECIDED


def move_states(monkeypatch: pytest.MonkeyPatch, by: float, moved: Callable[[Any], Any] = np.ones_like) -> None:
    """A fault of the float64 arithmetic: the states of chosen tokens a little off, with radii too small to say so."""
    true = Continuations.states

    def off(self: Continuations, tokens: Any) -> Any:
        mid, radius = true(self, tokens)
        return mid + by * moved(np.asarray(tokens))[:, None], radius

    monkeypatch.setattr(Continuations, "states", off)


@pytest.mark.parametrize("by", [1e-6, 1e-11])
def test_arb_rejects_enclosures_that_do_not_hold(
    monkeypatch: pytest.MonkeyPatch, certificate: dict[str, Any], weights: dict[str, Any], by: float
) -> None:
    move_states(monkeypatch, by)  # distances stay as they are
    outcome = check(certificate, weights, steps=3)
    assert outcome.verdict is Verdict.REJECTED
    assert "Arb" in outcome.reason


@pytest.mark.parametrize("token", [0, 11, 22, 33, 39])
def test_one_state_that_is_off_is_found_among_all(
    monkeypatch: pytest.MonkeyPatch, certificate: dict[str, Any], weights: dict[str, Any], token: int
) -> None:
    move_states(monkeypatch, 1e-11, lambda tokens: tokens == token)
    outcome = check(certificate, weights, steps=TOKENS)
    assert outcome.verdict is Verdict.REJECTED
    assert f"token {token}" in outcome.reason


def test_other_weights_are_rejected(certificate: dict[str, Any], graph: Any, weights: dict[str, Any]) -> None:
    near = {**weights, "q": np.nextafter(weights["q"], np.float32(np.inf))}
    assert "weights" in check(certificate, near).reason
    with pytest.raises(InvalidInput):
        check(certificate)


def test_what_float64_cannot_tell_apart_is_left_open(graph: Any, weights: dict[str, Any]) -> None:
    close = {**weights, "embedding": weights["embedding"].astype(np.float64)}
    for token, bits in itertools.pairwise(range(20, 34)):
        close["embedding"][token] = close["embedding"][20] + 2.0**-45 * bits
    found = certify_vocabulary(graph, close, PREFIX, TOKENS)
    assert found.verdict is Verdict.UNDECIDED
    assert found.claim["minimum_lower_bound"] is None
    assert found.claim["certified"] == 0
    outcome = check(found, close)
    assert outcome.verdict is Verdict.ACCEPTED
    assert outcome.claim is not None and outcome.claim.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("prefix", "tokens"), [((), 9), ((1,), 9), ((1, 2), 1), ((1, 2), TOKENS + 1), ((1, -1), 9), ((1, TOKENS), 9)]
)
def test_questions_that_do_not_fit_are_refused(graph: Any, weights: dict[str, Any], prefix: Any, tokens: int) -> None:
    with pytest.raises(InvalidInput):
        certify_vocabulary(graph, weights, prefix, tokens)


def test_networks_that_have_no_enclosure_are_refused(weights: dict[str, Any]) -> None:
    def net(*operation: Any, **attributes: Any) -> Any:
        net = Net()
        x = net.op("take", net.parameter("embedding", TOKENS, 4), net.tokens(3, TOKENS), axis=0)
        y = net.op("matmul", x, net.parameter("q", 4, 4))
        net.op(*operation, y, **attributes)
        return net.graph()

    with pytest.raises(Unsupported, match="unheard_of"):
        certify_vocabulary(net("unheard_of"), weights, PREFIX, TOKENS)
    with pytest.raises(Unsupported):
        certify_vocabulary(net("top_values", axis=2, count=4), weights, PREFIX, TOKENS)
    with pytest.raises(Undecided):
        certify_vocabulary(net("log"), weights, PREFIX, TOKENS)


def test_a_parameter_that_is_called_as_the_rows_of_a_table_is_refused(weights: dict[str, Any]) -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", TOKENS, 4), net.tokens(3, TOKENS), axis=0)
    net.op("multiply", x, net.parameter("(rows of embedding)", 1, 3, 4))
    with pytest.raises(Unsupported, match="rename it"):
        certify_vocabulary(net.graph(), weights | {"(rows of embedding)": np.zeros((1, 3, 4))}, PREFIX, TOKENS)


def test_a_number_is_not_below_its_decimal(certificate: dict[str, Any]) -> None:
    stated = Fraction(certificate["claim"]["minimum_lower_bound"])
    assert stated <= Fraction(float(certificate["enclosures"]["others_at_least"]))


def test_a_pair_left_open_is_open_for_all_tokens_of_its_classes() -> None:
    """Tokens 0 and 3 have one row, and relu makes it and that of 1 zero: two pairs are open, not one."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 4, 1), net.tokens(2, 4), axis=0)
    graph = net.graph(net.op("relu", x))
    weights = {"embedding": np.array([[-1.0], [-2.0], [3.0], [-1.0]])}
    found = certify_vocabulary(graph, weights, [0], 4)
    assert found.duplicates == ((0, 3),)
    assert (found.pairs, found.claim["certified"]) == (6, 3)
    assert "the 1 pairs of tokens with equal embedding rows and the 2 pairs left open" in found.claim["statement"]
    outcome = check(found, weights)
    assert outcome.verdict is Verdict.ACCEPTED
    assert outcome.claim is not None and outcome.claim.verdict is Verdict.UNDECIDED


def test_states_that_do_not_depend_on_the_last_token_have_no_margin() -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", 4, 1), net.tokens(2, 4), axis=0)
    first = net.op("slice", x, axis=1, start=0, stop=1, step=1)
    last = net.op("multiply", net.op("slice", x, axis=1, start=1, stop=2, step=1), net.constant(0))
    graph = net.graph(net.op("concatenate", first, net.op("add", first, last), axis=1))
    with pytest.raises(Unsupported, match="last token"):
        certify_vocabulary(graph, {"embedding": np.array([[1.0], [2.0], [3.0], [4.0]])}, [0], 4)


def test_no_pair_of_a_chosen_and_another_state_is_left_out_of_a_bound() -> None:
    best = [(0.5, 0, 1), (1.0, 0, 5), (2.0, 5, 6)]
    assert others_at_least(best, [0, 1], 7) == 1.0
    assert others_at_least(best, [0, 5, 1], 7) == 2.0
    assert others_at_least(best, [*range(7)], 7) is None


def test_where_the_others_have_no_bound_none_is_stated(graph: Any, certificate: dict[str, Any]) -> None:
    def claimed(others: float | None) -> dict[str, Any]:
        return claim_of(certificate["closest"], graph, PREFIX, TOKENS, certificate["duplicates"], others)

    bounded, nothing = claimed(1e-9), claimed(0.0)
    pairs, named = TOKENS * (TOKENS - 1) // 2, 1
    assert bounded["certified"] == pairs - named and bounded["minimum_lower_bound"] in bounded["statement"]
    assert (nothing["certified"], nothing["minimum_lower_bound"]) == (0, None)
    assert "(nothing)" in nothing["statement"] and str(pairs - named) in nothing["statement"]
