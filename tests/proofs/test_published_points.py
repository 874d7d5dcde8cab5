"""The parameters that the paper writes down, entry by entry, and what a count of them refuses."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs import InvalidInput
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.surds import Surd
from proofs.kernel.result import Rejected, digest
from proofs.network.graph import Graph
from proofs.recomputed.published_witness import DELTA, Network, Point, Prompt, epsilon, names_do_not_matter, printed
from proofs.recomputed.published_witness import collides_by_criterion as collides
from proofs.recomputed.witness import count_witness, derive_witness
from tests.proofs.building import Net
from tests.proofs.decoders import SMALL_EPSILON, gpt2

E, P, Q = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
UNIT = np.eye(4)
GRAPHS = {length: gpt2(length) for length in (1, 2, 3, 4)}


def written(first: Prompt, second: Prompt) -> dict[str, Any]:
    """The parameters of the point for a pair, by the end of their names, in floats."""
    with Balls(64) as balls:
        tables = Network(GRAPHS, 3)._inputs(printed(first, second), first, balls, None)
        parameters = {name: table for name, table in tables.items() if name != "tokens"}
        return {name: np.vectorize(lambda ball: float(ball.mid()))(table) for name, table in parameters.items()}


def of(parameters: dict[str, Any], role: str) -> Any:
    return next(value for name, value in parameters.items() if name.endswith(role))


def rows(size: int, **given: Any) -> Any:
    table = np.zeros((size, 4))
    for name, row in given.items():
        table[int(name[1:])] = row
    return table


@pytest.mark.parametrize(("first", "second", "tokens", "places", "target"), [
    ((0, 1), (0, 2), {"r1": UNIT[0], "r2": UNIT[1]}, {}, None),
    ((2, 1), (1, 0, 1), {}, {"r1": UNIT[0], "r2": UNIT[1]}, None),
    ((0, 1), (2, 1), {"r0": E, "r1": E}, {"r0": P, "r1": Q}, 0),
    ((2, 0, 1), (2, 2, 1), {"r0": E, "r1": E}, {"r1": P, "r2": Q}, 1),
    ((2, 2, 1, 1), (2, 2, 0, 1), {"r1": E}, {"r2": P, "r3": Q}, 2),
])  # fmt: skip
def test_a_point_is_the_one_of_the_paper(first: Prompt, second: Prompt, tokens: Any, places: Any, target: Any) -> None:
    found = written(first, second)
    embedding, positions = of(found, "wte.weight"), of(found, "wpe.weight")
    assert np.array_equal(embedding, rows(len(embedding), **tokens))
    assert np.array_equal(positions, rows(len(positions), **places))
    attention, projection = of(found, "c_attn.weight"), of(found, "attn.c_proj.weight")
    expected, out = np.zeros((4, 12)), np.zeros((4, 4))
    if target is not None:
        strength = 2 * (0.5 + float(SMALL_EPSILON)) * np.log(4 * (len(first) - 1))  # delta = 1/5
        expected[:, 0], expected[:, 4], expected[:, 8], out[0, 0] = strength * E, P, E, 1
    assert np.allclose(attention, expected, rtol=1e-12, atol=0)
    assert np.array_equal(projection, out)
    assert (of(found, "ln_1.weight") == 1).all()


def test_the_share_that_is_left_is_a_fifth() -> None:
    assert Fraction(1, 5) == DELTA


class Watched(Network):
    """Remembers what stands for the logarithm of the odds."""

    seen: tuple[Any, ...] = ()

    def _last(self, point: Point, prompt: Prompt, arithmetic: Any, logarithm: Any = None) -> Sequence[Any]:
        self.seen = (*self.seen, logarithm)
        return super()._last(point, prompt, arithmetic, logarithm)


def test_in_the_algebra_the_logarithm_of_the_odds_is_one_symbol() -> None:
    network = Watched(GRAPHS, 3)
    assert network.outcome(printed((0, 1), (2, 1)), (0, 1), (2, 1)) == "separated"
    assert [one.terms for one in network.seen if one is not None] == [Surd.of(1, logarithms=1).terms] * 2


def bent(length: int, kept: list[int]) -> Graph:
    """A GPT-2 by the names of its parameters whose states leave the algebra, but for entries that are 0."""
    net = Net()
    x = net.op("take", net.parameter("wte.weight", 3, 4), net.tokens(length, 3), axis=0)
    net.parameter("c_attn.weight", 4, 12)
    bent = net.op("exp", net.op("layer_norm", x, axes=1, epsilon=SMALL_EPSILON))
    net.op("multiply", bent, net.constant(kept, (4,)))
    return net.graph()


@pytest.mark.parametrize("kept", [[1, 1, 1, 1], [1, 1, 0, 1]], ids=str)
def test_what_leaves_the_algebra_is_told_in_balls_or_left_open(kept: list[int]) -> None:
    network = Network({n: bent(n, kept) for n in (1, 2)}, 3)
    point = printed((0, 1), (0, 2))
    assert network.outcome(point, (0, 1), (0, 2)) == "separated"
    assert network.outcome(point, (0, 1), (2, 1)) == "undecided"


def level(length: int) -> Graph:
    """By its names a GPT-2 again, all of whose states are equal at every point."""
    net = Net()
    x = net.op("take", net.parameter("wte.weight", 3, 4), net.tokens(length, 3), axis=0)
    net.parameter("c_attn.weight", 4, 12)
    net.op("multiply", net.op("layer_norm", x, axes=1, epsilon=SMALL_EPSILON), net.constant(0))
    return net.graph()


def test_equal_states_that_the_criterion_does_not_foresee_are_counted() -> None:
    found = count_witness({n: level(n) for n in (1, 2)}, vocabulary=3, context=2)
    assert (len(found.zero_as_printed), found.against_criterion) == (132, 126)


@pytest.mark.parametrize(("vocabulary", "context", "reason"), [
    (0, 1, "at most"), (-1, 1, "at most"), (3, 0, "at most"), (3, -1, "at most"), (25, 2, "at most"),
    (1000, 1, "at most"), (633, 1, "at most 400000 ordered pairs, but 633 tokens and 1 positions give 400056;"),
    (632, 1, "for length 1"),
    (24, 2, "for length 1"), (400, 1, "for length 1"), (1, 400, "for length 1"),
])  # fmt: skip
def test_so_many_pairs_are_looked_at_and_no_more(vocabulary: int, context: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        count_witness({}, vocabulary=vocabulary, context=context)


def test_every_length_has_a_network_of_its_own() -> None:
    with pytest.raises(InvalidInput, match="for length 2"):
        count_witness({1: GRAPHS[1], 2: GRAPHS[1]}, vocabulary=3, context=2)
    with pytest.raises(InvalidInput, match="for length 1"):
        count_witness({1: GRAPHS[2], 2: GRAPHS[2]}, vocabulary=3, context=2)


CLAIM = {"vocabulary": 3, "context": 2}
WRITTEN = {str(length): GRAPHS[length].to_json() for length in (1, 2)}


@pytest.mark.parametrize(("claim", "graphs", "reason"), [
    (None, WRITTEN, "missing"), (CLAIM, None, "missing"), ([], WRITTEN, "missing"), (CLAIM, [], "missing"),
    *((CLAIM | {name: value}, WRITTEN, "no vocabulary and context")
      for name in CLAIM for value in (None, "2", True, 0, -1, 65, 2.0)),
    (CLAIM, {"1": WRITTEN["1"]}, "every length"), (CLAIM, {**WRITTEN, "3": WRITTEN["2"]}, "every length"),
    (CLAIM, {"2": WRITTEN["2"]}, "every length"), (CLAIM | {"context": 64}, WRITTEN, "every length"),
    (CLAIM | {"context": 1}, {}, "every length"),
])  # fmt: skip
def test_a_claim_names_its_size_and_has_a_network_for_every_length(claim: Any, graphs: Any, reason: str) -> None:
    named = {**claim, "graphs": digest(graphs)} if isinstance(claim, dict) else claim
    with pytest.raises(Rejected, match=reason):
        derive_witness({"claim": named, "graphs": graphs})


def with_norms(*epsilons: Any) -> Graph:
    net = Net()
    x = net.op("take", net.parameter("wte.weight", 3, 4), net.tokens(1, 3), axis=0)
    for one in epsilons:
        x = net.op("layer_norm", x, axes=1, epsilon=one)
    net.op("add", x, x)
    return net.graph()


def test_all_norms_have_one_positive_epsilon() -> None:
    assert epsilon(with_norms(SMALL_EPSILON, SMALL_EPSILON)) == SMALL_EPSILON
    for epsilons in ((), (SMALL_EPSILON, Fraction(1, 3)), (Fraction(1, 3), SMALL_EPSILON), (Fraction(0),)):
        with pytest.raises(InvalidInput, match="one positive epsilon"):
            epsilon(with_norms(*epsilons))


def test_names_matter_where_tokens_are_read_as_numbers() -> None:
    net = Net()
    tokens = net.tokens(1, 3)
    x = net.op("take", net.parameter("wte.weight", 3, 4), tokens, axis=0)
    net.op("multiply", x, net.op("reshape", net.op("as_real", tokens), shape=(1, 1, 1)))
    assert not names_do_not_matter(net.graph())
    assert names_do_not_matter(GRAPHS[1])


@pytest.mark.parametrize(("first", "second", "expected"), [
    ((0, 1), (1, 1), True), ((0, 1), (2, 1), False), ((0, 0, 1), (0, 1, 1), True), ((2, 0, 1), (2, 1, 1), True),
    ((0, 2, 1), (1, 0, 1), False), ((0, 2, 1), (1, 2, 1), True), ((1, 0, 1), (1, 1, 1), True),
    ((1, 0, 2, 1), (1, 1, 0, 1), False), ((0, 0), (0, 0, 0), False),
])  # fmt: skip
def test_the_criterion_counts_the_others_that_carry_e(first: Prompt, second: Prompt, expected: bool) -> None:
    assert collides(first, second) is expected
