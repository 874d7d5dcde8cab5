"""The published witness on a hand-made GPT-2: where it fails, why, and that the repair does not."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import pytest

from proofs import InvalidInput, Verdict, check
from proofs.kernel.patterns import relabelled
from proofs.network.graph import Graph, TensorType
from proofs.recomputed.price import relabelled_pairs
from proofs.recomputed.published_witness import (
    DELTA,
    collides_by_criterion,
    doubtful,
    names_do_not_matter,
    printed,
    repaired,
)
from proofs.recomputed.witness import count_witness
from tests.proofs.building import Net
from tests.proofs.decoders import SMALL_EPSILON, gpt2
from tests.proofs.mutating import placed

GRAPHS = {length: gpt2(length) for length in (1, 2, 3)}
SMALL = count_witness({n: GRAPHS[n] for n in (1, 2)}, vocabulary=3, context=2)


def test_the_gap_is_there_and_the_repair_closes_it() -> None:
    assert (SMALL.pairs, SMALL.in_gap, len(SMALL.zero_as_printed), SMALL.zero_repaired) == (132, 6, 6, ())
    assert SMALL.verdict is Verdict.PROVED
    assert ((0, 1), (1, 1)) in SMALL.zero_as_printed  # s = ab, t = bb


def counting(length: int) -> Graph:
    """Another network, whose parameters are called as those of a GPT-2: it tells every two prompts apart by number."""
    net = Net()
    tokens = net.tokens(length, 3)
    powers = net.constant([4**place for place in range(length)], (1, length))
    digits = net.op("add", net.op("as_real", tokens), net.constant(1))
    number = net.op("cumulative_sum", net.op("multiply", digits, powers), axis=1)
    x = net.op("take", net.parameter("wte.weight", 3, 4), tokens, axis=0)
    normal = net.op("layer_norm", x, axes=1, epsilon=SMALL_EPSILON)
    net.parameter("c_attn.weight", 4, 12)
    net.op("add", net.op("add", x, normal), net.op("reshape", number, shape=(1, length, 1)))
    return net.graph()


def test_a_count_is_of_the_network_that_it_was_made_on() -> None:
    found = count_witness({n: counting(n) for n in (1, 2)}, vocabulary=3, context=2)
    assert (found.zero_as_printed, found.against_criterion) == ((), 6)
    result = check(found.to_json())
    assert result.verdict is Verdict.ACCEPTED
    assert result.claim is not None and "written into the network of this certificate" in result.claim.sentence


def test_zero_in_the_gap_exactly_by_the_criterion() -> None:
    found = count_witness(GRAPHS, vocabulary=3, context=3)
    assert (found.pairs, found.in_gap, len(found.zero_as_printed)) == (1482, 78, 54)
    assert (found.zero_repaired, found.undecided, found.against_criterion) == ((), 0, 0)


def test_the_repair_leaves_the_gap_for_every_pair() -> None:
    prompts = [p for n in (1, 2, 3, 4) for p in product(range(3), repeat=n)]
    for first, second in permutations(prompts, 2):
        if doubtful(first, second):
            assert not doubtful(second, first)
            assert repaired(first, second) == printed(second, first)
        else:
            assert not collides_by_criterion(first, second)


def test_delta_is_small_enough_for_the_published_bound() -> None:
    # delta (c_ep + 2 c_e) < c_ep  iff  2 delta c_e < (1 - delta) c_ep, both squared
    square_e, square_ep = 1 / (Fraction(1, 4) + SMALL_EPSILON), 1 / (Fraction(1, 2) + SMALL_EPSILON)
    assert (2 * DELTA) ** 2 * square_e < (1 - DELTA) ** 2 * square_ep


CERTIFICATE = SMALL.to_json()


def test_the_certificate_is_accepted() -> None:
    result = check(CERTIFICATE)
    assert (result.verdict, result.lines) == (Verdict.ACCEPTED, 132)


CHANGES: list[tuple[tuple[Any, ...], Any]] = [
    (("claim", "zero_as_printed"), 0), (("claim", "zero_repaired"), 1), (("claim", "pairs"), 131),
    (("claim", "statement"), "The witness never fails."), (("claim", "context"), 1), (("claim", "vocabulary"), 2),
    (("claim", "graphs"), "0" * 64), (("claim", "delta"), "1/3"), (("claim", "vocabulary"), True), (("zero",), []),
    (("claim",), None), (("graphs", "2"), {}), (("graphs",), {}), (("graphs",), None), (("claim", "context"), 60),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), CHANGES, ids=str)
def test_a_tampered_certificate_is_rejected(path: tuple[Any, ...], value: Any) -> None:
    assert check(placed(CERTIFICATE, path, value)).verdict is Verdict.REJECTED


def test_networks_without_the_hypotheses_are_refused() -> None:
    with pytest.raises(InvalidInput, match="epsilon"):
        count_witness({1: gpt2(1, epsilon=Fraction(0))}, vocabulary=3, context=1)
    with pytest.raises(InvalidInput, match="at most"):
        count_witness(GRAPHS, vocabulary=9, context=9)
    with pytest.raises(InvalidInput, match="length 2"):
        count_witness({1: GRAPHS[1]}, vocabulary=3, context=2)
    with pytest.raises(InvalidInput, match="two different"):
        printed((1, 2), (1, 2))


def reshaped(name: str, shape: tuple[int, ...]) -> Graph:
    """The network for one token, with another shape of a parameter."""
    nodes = tuple(
        replace(n, type=TensorType(shape, "real")) if n.attributes.get("name") == name else n for n in GRAPHS[1].nodes
    )
    return replace(GRAPHS[1], nodes=nodes)


@pytest.mark.parametrize("graph", [
    GRAPHS[2], replace(GRAPHS[1], layer=2), replace(GRAPHS[1], layer=0), gpt2(1, 2),
    *(reshaped("wte.weight", (3, width)) for width in (3, 5)), reshaped("wte.weight", (3, 4, 1)),
    *(reshaped("c_attn.weight", shape) for shape in ((4, 11), (4, 13), (5, 12), (3, 12))),
])  # fmt: skip
def test_networks_of_another_form_are_refused(graph: Graph) -> None:
    with pytest.raises(InvalidInput, match="of width 4, one head and one block for length 1"):
        count_witness({1: graph}, vocabulary=3, context=1)


def test_one_pair_of_each_pattern_stands_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = {n: gpt2(n, 2) for n in (1, 2, 3)}
    assert all(map(names_do_not_matter, graphs.values()))
    once = count_witness(graphs, vocabulary=2, context=3)
    monkeypatch.setattr("proofs.recomputed.witness.names_do_not_matter", lambda graph: False)
    assert count_witness(graphs, vocabulary=2, context=3) == once


def test_names_matter_where_a_row_by_tokens_is_read_otherwise() -> None:
    net = Net()
    x = net.op("take", net.parameter("wte.weight", 3, 4), net.tokens(1, 3), axis=0)
    assert names_do_not_matter(net.graph(x))
    assert not names_do_not_matter(net.graph(net.op("add", x, net.op("take", net.parameter("lm_head.weight", 3, 4),
                                   net.constant([0], (1, 1), "integer"), axis=0))))  # fmt: skip
    other = Net()
    assert not names_do_not_matter(
        other.graph(other.op("take", other.parameter("wpe.weight", 3, 4), other.tokens(1, 3), axis=0))
    )


def counted_for_one(build: Callable[[Net, int, int, int], int], *, rows: int = 3) -> Graph:
    """A network of one token that has the parameters of a GPT-2, of which it reads what `build` does."""
    net = Net()
    tokens = net.tokens(1, rows)
    tables = [net.parameter("wte.weight", 3, 4), net.parameter("lm_head.weight", rows, 4)]
    net.parameter("c_attn.weight", 4, 12)
    return net.graph(build(net, tokens, *tables))


def test_what_the_state_does_not_read_decides_nothing() -> None:
    """Beside it tokens read a table of which the state reads row 0, and a norm has the one epsilon."""

    def build(net: Net, tokens: int, embedding: int, head: int) -> int:
        net.op("layer_norm", net.op("take", embedding, tokens, axis=0), axes=1, epsilon=Fraction(1, 8))
        first = net.op("reshape", net.op("slice", embedding, axis=0, start=0, stop=1, step=1), shape=(1, 1, 4))
        return net.op("multiply", net.op("take", head, tokens, axis=0), first)

    graph = counted_for_one(build)
    assert not names_do_not_matter(graph)
    with pytest.raises(InvalidInput, match="epsilon"):
        count_witness({1: graph}, vocabulary=3, context=1)


def test_a_network_without_a_token_of_the_claim_is_refused() -> None:
    def build(net: Net, tokens: int, embedding: int, head: int) -> int:
        row = net.op("layer_norm", net.op("take", head, tokens, axis=0), axes=1, epsilon=Fraction(1, 8))
        return net.op("add", row, net.op("take", embedding, tokens, axis=0))

    with pytest.raises(InvalidInput, match="for length 1"):
        count_witness({1: counted_for_one(build, rows=2)}, vocabulary=3, context=1)
    count_witness({1: counted_for_one(build, rows=2)}, vocabulary=2, context=1)


@pytest.mark.parametrize(("vocabulary", "context"), [(1, 3), (2, 2), (3, 2), (5, 2)])
def test_pairs_up_to_relabelling_are_counted(vocabulary: int, context: int) -> None:
    prompts = [prompt for n in range(1, context + 1) for prompt in product(range(vocabulary), repeat=n)]
    assert relabelled_pairs(vocabulary, context) == len({relabelled(*pair) for pair in product(prompts, repeat=2)})
