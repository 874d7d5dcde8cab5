"""What a pattern may be settled by: points that are what they say, analytic networks, prompts that are all there."""

from fractions import Fraction
from typing import Any

import pytest

from proofs import Graph, InvalidInput
from proofs.arithmetic.ball import Balls
from proofs.kernel.collisions import by_family, family_of, seen_by_two_blocks
from proofs.kernel.generic_position import (
    UNDEFINED,
    Longer,
    Point,
    claim_of,
    derive_generic_position,
    expect_networks,
    regularity_of,
)
from proofs.kernel.patterns import constants_are_known, patterns
from proofs.kernel.result import Rejected, digest
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net
from tests.proofs.decoders import graphs


def mean_of_rows(length: int, *, behind: str = "", vocabulary: int = 9) -> Graph:
    """The mean of all rows, which sees no order; `behind` says what else is done to it."""
    net = Net()
    tokens = net.tokens(length, vocabulary)
    rows = net.op("take", net.parameter("embedding", vocabulary, 2), tokens, axis=0)
    state = net.op("mean", rows, axes=(1,), keep=True)
    if behind == "logarithm":
        state = net.op("add", state, net.op("log", net.parameter("scale", 1, 1, 2)))
    if behind == "numbers":
        numbers = net.op("reshape", net.op("as_real", tokens), shape=(1, length, 1))
        state = net.op("add", state, net.op("mean", numbers, axes=(1,), keep=True))
    if behind in ("a root", "a choice"):
        bent = net.op("relu", state)
        bent = net.op("sqrt", bent) if behind == "a root" else bent
        net.op("add", state, net.op("matmul", bent, net.parameter("silent", 2, 2)))
    return net.graph()


def settled(networks: dict[int, Graph], outcomes: list[Any], context: int = 1, **options: Any) -> dict[str, Any]:
    return claim_of(networks, outcomes, context=context, bos=False, silenced=[], zeroed=[], named="", **options)


def test_a_choice_is_settled_where_the_rest_is_analytic_alone() -> None:
    assert regularity_of({1: mean_of_rows(1)}, []) == "analytic"
    assert regularity_of({1: mean_of_rows(1, behind="a choice")}, ["silent"]) == "branches"
    assert regularity_of({1: mean_of_rows(1, behind="a choice")}, []) == "unsuitable"
    assert regularity_of({1: mean_of_rows(1, behind="a root")}, ["silent"]) == "unsuitable"
    assert regularity_of({1: mean_of_rows(1, behind="numbers")}, []) == "unsuitable"


@pytest.mark.parametrize("behind", ["a root", "a choice", "numbers"])
def test_a_point_of_an_unsuitable_network_settles_nothing(behind: str) -> None:
    ((first, second),) = patterns(1)
    assert Point({1: mean_of_rows(1, behind=behind)}, 3, []).separates(first, second)
    with pytest.raises(Rejected, match="not shown to differ"):
        settled({1: mean_of_rows(1, behind=behind)}, [(first, second, "differ: point 3")])


def test_an_entry_of_a_point_is_a_small_dyadic_number_and_zero_where_it_is_silenced() -> None:
    point = Point({1: mean_of_rows(1)}, 7, ["silent"])
    with Balls(64) as balls:
        drawn = [Fraction(str(ball.mid().fmpq())) for ball in point._draw("embedding", (30, 30), balls).ravel()]
        silent = [ball.mid().fmpq() for ball in point._draw("silent", (5,), balls).ravel()]
    assert silent == [0] * 5
    assert {entry * 128 for entry in drawn} == set(range(-64, 64))


def test_prompts_are_all_there_and_no_others() -> None:
    found = examine(graphs(2), context=2)
    outcomes = list(found.classes)
    assert settled(graphs(2), outcomes, context=2)["classes"] == len(outcomes)
    for others in (outcomes[:-1], outcomes[1:], [*outcomes, outcomes[-1]], [*outcomes, ((2,), (1,), "undecided")], []):
        with pytest.raises(Rejected, match="patterns are not those"):
            settled(graphs(2), others, context=2)


@pytest.mark.parametrize(("networks", "context", "reason"), [
    ({}, 0, "a context from 1"), ({1: 1}, 0, "a context from 1"), ({1: 1}, 6, "a context from 1"),
    ({1: 1}, 2, "captured for 2 tokens"), ({1: 2}, 1, "captured for 1 tokens"), ({1: 1, 2: 1}, 2, "captured for 2"),
    ({1: 1, 2: 3}, 2, "captured for 2"), ({1: 1, 2: 2, 3: 3}, 2, "but got it for 3 too"),
])  # fmt: skip
def test_there_is_a_network_for_every_length(networks: dict[int, int], context: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        expect_networks({name: mean_of_rows(length) for name, length in networks.items()}, context, False)


def test_there_is_room_for_every_pattern() -> None:
    expect_networks({1: mean_of_rows(1, vocabulary=3)}, 1, False)
    with pytest.raises(InvalidInput, match="a vocabulary above 2, but got 2"):
        expect_networks({1: mean_of_rows(1, vocabulary=2)}, 1, False)


RUNS = (((1, 1), (1, 1, 1)),)
APART = [(*patterns(1)[0], "differ: point 3")]


def test_longer_pairs_are_of_longer_prompts_of_the_same_network() -> None:
    longer = {n: mean_of_rows(n) for n in (2, 3)}
    assert settled({1: mean_of_rows(1)}, APART, longer=Longer(RUNS, longer))["longer_collisions"] == 1
    other = {2: mean_of_rows(2, behind="logarithm"), 3: mean_of_rows(3)}
    for pairs, networks, reason in (
        (RUNS, other, "another network"), (RUNS, {1: mean_of_rows(1), **longer}, "another network"),
        (RUNS, {2: mean_of_rows(3), 3: mean_of_rows(3)}, "another network"),
        (RUNS, {2: mean_of_rows(2), 3: mean_of_rows(2)}, "another network"),
        (RUNS * 2, longer, "listed twice"), ((((1, 2), (1, 2)),), longer, "are one"),
        ((((2, 1), (2, 1)),), longer, "are one"), ((((1, 2), (1, 3)),), longer, "not shown"),
        ((((1, 2), (2, 2)),), longer, "not shown"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match=reason):
            settled({1: mean_of_rows(1)}, APART, longer=Longer(pairs, networks))


def test_where_states_may_be_undefined_a_collision_says_so() -> None:
    networks = {n: mean_of_rows(n, behind="logarithm") for n in (1, 2, 3)}
    undecided = [(*patterns(1)[0], "undecided")]
    found = settled({1: networks[1]}, undecided, longer=Longer(RUNS, {n: networks[n] for n in (2, 3)}))
    assert UNDEFINED in found["statement"]
    assert UNDEFINED not in settled({1: networks[1]}, undecided)["statement"]
    plain = Longer(RUNS, {n: mean_of_rows(n) for n in (2, 3)})
    assert UNDEFINED not in settled({1: mean_of_rows(1)}, undecided, longer=plain)["statement"]


def certificate(**changes: Any) -> dict[str, Any]:
    written = {"1": mean_of_rows(1).to_json()}
    rows = [[list(first), list(second), outcome] for first, second, outcome in APART]
    claim = settled({1: mean_of_rows(1)}, APART) | {"graphs": digest(written)}
    return {"claim": claim | changes.pop("claim", {}), "graphs": written, "classes": rows, **changes}


def test_what_a_claim_is_of_is_a_number_and_a_truth_value() -> None:
    assert derive_generic_position(certificate()).certificate["claim"]["context"] == 1
    for changed in (
        {"context": True},
        {"context": "1"},
        {"context": 1.0},
        {"context": None},
        {"bos": 0},
        {"bos": None},
    ):
        with pytest.raises(Rejected, match="which patterns"):
            derive_generic_position(certificate(claim=changed))


@pytest.mark.parametrize("row", [
    [[1], [True], "undecided"], [[1], [2.0], "undecided"], [[True], [2], "undecided"], [[1], "2", "undecided"],
    [[1], [2]], [[1], [2], 3], [[1], [2], "undecided", 4], {"a": 1}, None, "row",
])  # fmt: skip
def test_a_row_is_of_two_prompts_and_an_outcome(row: Any) -> None:
    with pytest.raises(Rejected, match="two prompts and an outcome"):
        derive_generic_position(certificate(classes=[row]))


@pytest.mark.parametrize("known", [True, False])
def test_constants_without_entries_are_not_known(known: bool) -> None:
    net = Net()
    rows = net.op("take", net.parameter("embedding", 9, 2), net.tokens(2, 9), axis=0)
    factor = net.constant([1, 2], (2,)) if known else net.op("constant", shape=(2,), kind="real")
    net.op("multiply", rows, factor)
    assert constants_are_known(net.graph()) is known
    assert constants_are_known(mean_of_rows(2))


@pytest.mark.parametrize(("first", "second", "family"), [
    ((1, 1), (1, 1, 1), "repeated tokens"), ((1, 2), (1, 2, 1, 2), "powers of one word"),
    ((1, 2), (1, 2, 1, 1), "equal states"), ((1, 2), (1, 2, 2, 1), "equal states"),
    ((1, 2), (1, 1, 2, 2), "proportional multisets"),
    ((1, 2, 3), (2, 1, 3), "permuted prefixes"), ((1, 2), (3, 2), "window reach"), ((1, 2), (1, 3), "equal states"),
    ((1, 2, 1), (2, 1, 1), "permuted prefixes"),
])  # fmt: skip
def test_pairs_are_of_the_family_that_they_are_called_by(first: Any, second: Any, family: str) -> None:
    assert family_of(first, second) == family


def test_two_blocks_see_the_last_token_with_what_is_in_front() -> None:
    last, classes = seen_by_two_blocks((1, 1, 2))
    seen = {1: Fraction(2, 3), 2: Fraction(1, 3)}
    assert last == (2, frozenset(seen.items()))
    assert dict(classes) == {(1, frozenset({(1, Fraction(1))})): Fraction(2, 3), last: Fraction(1, 3)}


def test_a_statement_says_how_many_pairs_are_listed() -> None:
    one, other = ((1, 2), (3, 2)), ((1, 2, 4), (3, 2, 4))
    (single,), (both,) = by_family([one]), by_family([one, other])
    assert "listed" not in single["statement"]
    assert "the 2 pairs listed, such as s = [1, 2]" in both["statement"]
