"""What can be read off hand-made graphs: positions, and which prompts cannot be told apart."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.kernel.collisions import find_collisions
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.value_numbering.rules import RULES, added, entrywise, multiplied, selected, subtracted
from proofs.network.axes import groups
from proofs.network.graph import Graph
from proofs.structure.dependence import _reshape, causal, influences
from proofs.structure.entrywise import ENTRYWISE
from proofs.structure.equal_prompts import repeated_tokens_collide
from proofs.structure.positions import positions
from proofs.structure.sameness import Sameness, _reshaped, sameness
from tests.proofs.building import Net, attention_net

LENGTH = 5


def variant(*, length: int = LENGTH, window: int | None = None,
            absolute: bool = False, relative: bool = False, sink: bool = False,
            two_way: bool = False, convolution: bool = False, merged: bool = False, padded: bool = False,
            counted: bool = False, scaled: bool = False, linear: bool = False) -> Graph:  # fmt: skip
    net = Net()
    tokens = net.tokens(length, 7)
    x = net.op("take", net.parameter("embedding", 7, 4), tokens, axis=0)
    if counted:  # the position is the number of tokens so far that are no padding
        real = net.op("as_integer", net.op("opposite", net.op("equal", tokens, net.constant(0, (), "integer"))))
        places = net.op("cumulative_sum", real, axis=1)
        x = net.op("add", x, net.op("take", net.parameter("positions", LENGTH + 1, 4), places, axis=0))
    if padded:  # a convolution over three tokens
        wide = net.op("concatenate", net.constant(0, (1, 2, 4)), x, axis=1)
        for start in (0, 1):
            x = net.op("add", x, net.op("slice", wide, axis=1, start=start, stop=start + length, step=1))
    if absolute:
        places = net.constant(list(range(length)), (1, length), "integer")
        x = net.op("add", x, net.op("take", net.parameter("positions", LENGTH, 4), places, axis=0))
    if convolution:
        before = net.op(
            "concatenate",
            net.constant(0, (1, 1, 4)),
            net.op("slice", x, axis=1, start=0, stop=length - 1, step=1),
            axis=1,
        )
        x = net.op("add", x, before)
    scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
    if relative:
        slope = [Fraction(j - i, 2) for i in range(length) for j in range(length)]
        scores = net.op("add", scores, net.constant(slope, (1, length, length)))
    reach = window or length
    allowed = [[two_way or i - reach < j <= i for j in range(length)] for i in range(length)]
    bias = [Fraction(j, 2) if merged else 0 for _ in range(length) for j in range(length)]
    mask = [b if free else float("-inf") for b, free in zip(bias, (f for row in allowed for f in row), strict=True)]
    scores = net.op("add", scores, net.constant(mask, (1, length, length)))
    if sink:
        empty = net.op("expand", net.parameter("sink", 1, 1, 1), shape=(1, length, 1))
        scores = net.op("concatenate", scores, empty, axis=2)
    weights = net.op("exp" if linear else "softmax", scores, **({} if linear else {"axis": 2}))
    if scaled:  # the weight of a sink, from the sum of exponentials
        share = net.op("sigmoid", net.op("log_sum_exp", scores, axis=2))
        return _scaled(net, x, weights, share)
    if sink:
        weights = net.op("slice", weights, axis=2, start=0, stop=length, step=1)
    net.op("add", x, net.op("matmul", weights, x))
    return net.graph()


def _scaled(net: Net, x: int, weights: int, share: int) -> Graph:
    net.op("add", x, net.op("multiply", net.op("matmul", weights, x), share))
    return net.graph()


def captured(**options: Any) -> dict[int, Graph]:
    return {length: variant(length=length, **options) for length in (1, 2, 3, LENGTH)}


def families(**options: Any) -> set[str]:
    return {entry["family"] for entry in find_collisions(captured(**options))}


@pytest.mark.parametrize(
    ("options", "scheme", "collide"),
    [
        ({}, "none", True),
        ({"relative": True}, "relative", True),
        ({"absolute": True}, "absolute", False),
        ({"relative": True, "sink": True}, "relative", False),
        ({"convolution": True}, "recurrent", False),
        ({"padded": True}, "recurrent", False),
        ({"counted": True}, "absolute", False),
        ({"linear": True}, "recurrent", False),
        ({"scaled": True}, "none", False),
        ({"scaled": True, "relative": True}, "relative", False),
    ],
    ids=str,
)
def test_positions_and_repeated_tokens(options: dict[str, bool], scheme: str, collide: bool) -> None:
    assert positions(variant(**options)).scheme == scheme
    assert repeated_tokens_collide(captured(**options)) is collide
    assert ("repeated tokens" in families(**options)) is collide


def test_without_positions_one_layer_cannot_tell_permuted_prefixes() -> None:
    assert "permuted prefixes" in families()
    assert "permuted prefixes" not in families(relative=True)


def test_a_bias_merged_into_the_mask_is_a_position_scheme() -> None:
    assert positions(variant(merged=True)).scheme == "relative"
    assert "permuted prefixes" not in families(merged=True)


def test_a_window_forbids_the_claim_on_permuted_prefixes() -> None:
    assert "permuted prefixes" not in families(window=2)


def test_the_operations_that_act_entry_by_entry_are_those_of_the_kernel() -> None:
    by_entry = (entrywise, added, subtracted, multiplied, selected)
    assert {name for name, rule in RULES.items() if rule in by_entry} == ENTRYWISE


def test_causality_is_read_off_the_masks() -> None:
    assert causal(variant())
    assert not causal(variant(two_way=True))
    assert repeated_tokens_collide(captured(two_way=True))  # all rows are equal, whoever looks where
    assert influences(variant()) == [tuple(range(t + 1)) for t in range(LENGTH)]


def test_a_window_bounds_the_reach() -> None:
    graph = variant(window=2)
    assert influences(graph)[-1] == (LENGTH - 2, LENGTH - 1)
    family = next(entry for entry in find_collisions(captured(window=2)) if entry["family"] == "window reach")
    assert family["lengths"] == [[3, 3], [LENGTH, LENGTH]]
    for first, second in family["pairs"]:
        assert first[-2:] == second[-2:]
        assert first != second


def test_an_unknown_operation_may_read_everything_that_it_is_given() -> None:
    """As the writing of rows at places does: zeros, places, and rows that come in another order."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 9, 2), net.tokens(3, 9), axis=0)
    places = net.constant([1, 0, 2], (3,), "integer")
    graph = net.graph(net.op("aten.index_put", net.constant(0, (1, 3, 2)), places, x))
    assert influences(graph) == [(0, 1, 2)] * 3
    assert not causal(graph)


def test_a_gather_of_fewer_places_reads_those() -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", 9, 4), net.tokens(3, 9), axis=0)
    graph = net.graph(net.op("gather", x, net.constant([1, 0], (1, 2, 1), "integer"), axis=2))
    assert influences(graph) == [(0,), (1,)]


def test_a_family_is_claimed_of_the_pairs_that_are_listed_and_of_no_others() -> None:
    """A network that adds up its first two rows: other orders of the prefix are other states."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 9, 2), net.tokens(4, 9), axis=0)
    rows = [net.op("slice", x, axis=1, start=i, stop=i + 1, step=1) for i in range(4)]
    powers = net.op("add", net.op("power", rows[2], exponent=2), net.op("power", rows[3], exponent=3))
    graph = net.graph(net.op("add", net.op("add", rows[0], rows[1]), powers))
    (family,) = find_collisions({4: graph})
    assert not Numbering([graph]).equal(graph, (1, 2, 3, 4), graph, (1, 3, 2, 4))
    assert family["statement"].startswith("r(s) = r(t) for s = [1, 2, 3, 4] and t = [2, 1, 3, 4], which end alike")
    several = next(entry for entry in find_collisions(captured(window=2)) if entry["family"] == "window reach")
    assert several["statement"].startswith("r(s) = r(t) for the 2 pairs listed, such as s = [1, 2, 3] and t = [4, 2, ")


def test_the_toy_block_is_causal() -> None:
    assert causal(attention_net())


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_groups_cover_both_shapes_with_equal_sizes(sizes: list[int], chance: object) -> None:
    total = int(np.prod(sizes))
    for new in {(total,), tuple(sizes[::-1]), (1, total), tuple(sizes)}:
        pairs = groups(tuple(sizes), new)
        assert [a for left, _ in pairs for a in left] == list(range(len(sizes)))
        assert [a for _, right in pairs for a in right] == list(range(len(new)))
        for left, right in pairs:
            assert np.prod([sizes[a] for a in left]) == np.prod([new[a] for a in right])


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4)


@given(SHAPES, st.permutations(range(4)), st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_reshape_is_what_reshaping_all_of_it_gives(sizes: list[int], order: list[int], keep: list[bool]) -> None:
    """Also of no entries, where any axis fits any other."""
    old, new = tuple(sizes), tuple(sizes[i] for i in order if i < len(sizes))
    array = np.zeros([n if kept else 1 for n, kept in zip(old, keep, strict=False)], dtype=np.int64)
    array += np.arange(array.size).reshape(array.shape)
    found = _reshape(array, old, new)
    assert np.array_equal(np.broadcast_to(found, new), np.broadcast_to(array, old).reshape(new))


@given(st.data())
def test_periods_survive_reshapes_soundly(data: st.DataObject) -> None:
    old = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=3)))
    periods = tuple(data.draw(st.sampled_from([p for p in range(1, n + 1) if n % p == 0])) for n in old)
    total = int(np.prod(old))
    splits = [(total,), (1, total), tuple(old[::-1]), *[(d, total // d) for d in range(1, total + 1) if total % d == 0]]
    new = data.draw(st.sampled_from(splits))
    index = np.indices(old)
    values = sum((index[a] % p) * 100**a for a, p in enumerate(periods))
    reshaped = np.reshape(values, new)
    for axis, period in enumerate(_reshaped(Sameness(periods), old, new).periods):
        assert period >= 1
        places = np.arange(new[axis]) % period
        assert np.array_equal(np.take(reshaped, places, axis=axis), reshaped)


def test_everything_is_known_to_be_equal_only_with_a_reason() -> None:
    graph = variant(absolute=True)
    assert not sameness(graph)[graph.output].equal(1)
