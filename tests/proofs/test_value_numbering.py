"""What value numbering equates, on networks that once were called unable to tell prompts apart and are able to."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs import Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.errors import Unsupported
from proofs.kernel.collisions import find_collisions
from proofs.kernel.patterns import rows_are_free
from proofs.kernel.regularity import is_analytic
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.value_numbering.rules import RULES
from proofs.kernel.value_numbering.table import Table, TooMany
from proofs.kernel.value_numbering.values import At, Value
from proofs.network.graph import LEAVES, Graph, Node, TensorType
from proofs.operations import REGISTRY
from proofs.operations.interpreter import evaluate
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net
from tests.proofs.numbering import VOCABULARY, WIDTH, equal, rows

LONGEST = 4
Bias = Callable[[Net, int, int], int]


def attention(length: int, *, bias: Bias | None = None, seen: Callable[[int, int], bool] = lambda i, j: j <= i,
              twice: bool = False, scaled: bool = False) -> Graph:  # fmt: skip
    net = Net()
    table = net.parameter("embedding", VOCABULARY, WIDTH)
    x = net.op("take", table, net.tokens(length, VOCABULARY), axis=0)
    if twice:
        x = net.op("subtract", x, net.op("take", table, net.constant(0, (), "integer"), axis=0))
        x = net.op(
            "multiply", x, net.op("slice", net.parameter("p", LONGEST, WIDTH), axis=0, start=0, stop=length, step=1)
        )
    scores = net.op(
        "matmul", net.op("matmul", x, net.parameter("w", WIDTH, WIDTH)), net.op("permute", x, order=(0, 2, 1))
    )
    scores = scores if bias is None else bias(net, scores, length)
    mask = [0 if seen(i, j) else float("-inf") for i in range(length) for j in range(length)]
    scores = net.op("add", scores, net.constant(mask, (1, length, length)))
    mixed = net.op("matmul", net.op("softmax", scores, axis=2), x)
    return net.graph(net.op("multiply", mixed, net.constant(2)) if scaled and length == 1 else mixed)


def by_key(net: Net, scores: int, length: int) -> int:
    """Learned, of the key's place."""
    row = net.op("slice", net.parameter("bias", 1, 1, LONGEST), axis=2, start=0, stop=length, step=1)
    return net.op("add", scores, row)


def sliced_later(net: Net, scores: int, length: int) -> int:
    """ALiBi from a table longer than the prompt."""
    table = net.constant([Fraction(j, 2) for j in range(64)], (1, 1, 64))
    return net.op("add", scores, net.op("slice", table, axis=2, start=0, stop=length, step=1))


def by_place(net: Net, scores: int, length: int) -> int:
    """Scores of the first key are another function than those of the rest."""
    first = net.constant([j == 0 for j in range(length)], (1, 1, length), "boolean")
    return net.op("select", first, net.op("multiply", scores, net.constant(3)), scores)


def unknown(net: Net, scores: int, length: int) -> int:
    """Constants that nobody knows."""
    return net.op("add", scores, net.op("constant", shape=(1, 1, length), kind="real", value=None))


@pytest.mark.parametrize("bias", [by_key, sliced_later, by_place, unknown])
def test_what_tells_places_apart_tells_permuted_prefixes_apart(bias: Bias) -> None:
    assert equal(lambda n: attention(n), (1, 2, 3), (2, 1, 3))
    assert not equal(lambda n: attention(n, bias=bias), (1, 2, 3), (2, 1, 3))
    assert equal(lambda n: attention(n, bias=bias), (1,), (1, 1, 1))  # a mixture of equal rows, whatever the weights


def test_every_length_is_read_on_its_own_graph() -> None:
    assert equal(lambda n: attention(n), (1,), (1, 1))
    assert not equal(lambda n: attention(n, scaled=True), (1,), (1, 1))
    assert equal(lambda n: attention(n, scaled=True), (1, 1), (1, 1, 1))


def test_a_chunk_is_seen_where_the_length_shows_it() -> None:
    def chunked(length: int) -> Graph:
        return attention(length, seen=lambda i, j: j <= i and i // 3 == j // 3)

    assert equal(chunked, (1, 2, 3, 4), (2, 2, 2, 4))  # the fourth begins a chunk
    assert not equal(chunked, (1, 2, 3), (2, 2, 3))
    shown = {entry["family"]: entry["lengths"] for entry in find_collisions({n: chunked(n) for n in (3, 4)})}
    assert shown["window reach"] == [[4, 4]]


def test_a_bias_across_a_window_is_not_translated() -> None:
    def narrow(length: int) -> Graph:
        return attention(length, bias=by_key, seen=lambda i, j: i - 2 < j <= i)

    assert equal(narrow, (3, 1, 2), (4, 1, 2))
    assert not equal(narrow, (1, 2), (3, 1, 2))


def test_rows_that_are_read_elsewhere_are_not_free() -> None:
    graphs = {n: attention(n, twice=True) for n in (1, 2)}
    assert not rows_are_free(*graphs.values())
    found = examine(graphs, context=2)
    assert (found.claim["regularity"], found.claim["certified"]) == ("unsuitable", 0)
    assert rows_are_free(attention(1), attention(2))
    forged = found.to_json()
    forged["classes"] = [[s, t, "differ: point 0"] for s, t, _ in forged["classes"]]
    assert check(forged).verdict is Verdict.REJECTED


def test_every_operation_has_a_rule_and_an_unknown_one_equates_nothing() -> None:
    assert set(RULES) | set(LEAVES) == set(REGISTRY)
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(2, VOCABULARY), axis=0)
    graph = net.graph(net.op("no such operation", x))
    assert not Numbering([graph]).equal(graph, (1, 2), graph, (3, 2))
    assert not Numbering([graph]).equal(graph, (1, 1), graph, (2, 2))


def test_an_unknown_operation_may_be_a_draw_that_is_made_anew_for_every_prompt() -> None:
    net, x = rows(2)
    last = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    drawn = net.op("no such operation", net.constant([0] * WIDTH, (1, 1, WIDTH)))
    plain, noisy = net.graph(last), net.graph(net.op("add", last, drawn))
    assert Numbering([plain]).equal(plain, (1, 2), plain, (3, 2))
    assert not Numbering([noisy]).equal(noisy, (1, 2), noisy, (3, 2))


def test_parameters_are_told_apart_by_name_and_place() -> None:
    net = Net()
    tokens = net.tokens(2, VOCABULARY)
    one, other = (net.op("take", net.parameter(name, VOCABULARY, WIDTH), tokens, axis=0) for name in ("a", "b"))
    graph = net.graph(net.op("subtract", one, other))
    assert not Numbering([graph]).equal(graph, (1, 2), graph, (2, 1))


def test_a_single_weight_that_is_repeated_sums_to_more_than_one() -> None:
    """A softmax of one score is 1; written twice over equal rows it gives twice the row, not the row."""
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(1, VOCABULARY), axis=0)
    weight = net.op("softmax", net.op("sum", x, axes=(2,), keep=True), axis=2)
    values: dict[int, Value] = {}
    table = Table()
    values[weight] = Value(np.array([[[table.fresh()]]], dtype=np.int64), frozenset({2}))
    wide = net.op("expand", weight, shape=(1, 1, 3))
    at = At(table, net.graph(), wide, (2,), (values[weight],), values.__getitem__, (1, 1, 1))
    assert RULES["expand"](at).sums_to_one == frozenset()
    same = net.op("expand", weight, shape=(4, 1, 1))
    kept = At(table, net.graph(), same, (), (values[weight],), values.__getitem__, (4, 1, 1))
    assert RULES["expand"](kept).sums_to_one == frozenset({2})


@pytest.mark.parametrize("operation", ["take", "gather"])
@pytest.mark.parametrize("place", [-1, 3])
def test_indices_outside_an_axis_read_nothing_that_is_known(operation: str, place: int) -> None:
    """numpy would count -1 from the end; the operation has no value there, and no proof."""
    net, x = rows(3)
    shape = (1,) if operation == "take" else (1, 1, 1)
    column = net.op("slice", x, axis=2, start=0, stop=1, step=1)
    graph = net.graph(net.op(operation, column, net.constant(place, shape, "integer"), axis=1))
    with pytest.raises(Unsupported), Balls() as balls:
        table = balls.real(np.ones((VOCABULARY, WIDTH), dtype=np.int64))
        evaluate(graph, {"tokens": np.array([[1, 2, 3]]), "embedding": table}, balls)
    assert not is_analytic(graph)
    assert not Numbering([graph]).equal(graph, (1, 2, 3), graph, (2, 1, 3))  # the last row is the same in both


def test_a_bias_that_is_zero_in_the_head_that_is_taken_is_none() -> None:
    """Two heads, of which the first has no slope: there scores differ by nothing, and weights by their multiset."""

    def sloped(length: int, head: int) -> Graph:
        net, x = rows(length)
        scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
        wide = net.op("expand", net.op("reshape", scores, shape=(1, 1, length, length)), shape=(1, 2, length, length))
        bias = [slope * (j - i) for slope in (0, 1) for i in range(length) for j in range(length)]
        weights = net.op("softmax", net.op("add", wide, net.constant(bias, (1, 2, length, length))), axis=3)
        weights = net.op("slice", weights, axis=1, start=head, stop=head + 1, step=1)
        return net.graph(net.op("matmul", net.op("reshape", weights, shape=(1, length, length)), x))

    assert equal(lambda n: sloped(n, 0), (1,), (1, 1, 1))
    assert equal(lambda n: sloped(n, 0), (1, 2, 3), (2, 1, 3))
    assert not equal(lambda n: sloped(n, 1), (1, 2, 3), (2, 1, 3))


@pytest.mark.parametrize("operation", ["sum", "matmul", "softmax"])
def test_what_reads_no_entries_equates_nothing(operation: str) -> None:
    net, x = rows(3)
    none = net.op("slice", x, axis=1, start=0, stop=0, step=1)
    if operation == "sum":
        read = net.op("sum", none, axes=(1,), keep=True)
    elif operation == "matmul":
        read = net.op("matmul", net.op("permute", none, order=(0, 2, 1)), none)
        read = net.op("sum", read, axes=(1,), keep=True)
    else:
        read = net.op("sum", net.op("softmax", none, axis=2), axes=(1,), keep=True)
    graph = net.graph(net.op("add", x, read))
    assert not Numbering([graph]).equal(graph, (1, 2, 3), graph, (2, 1, 3))
    joined = net.graph(net.op("concatenate", none, x, axis=1))
    assert Numbering([joined]).equal(joined, (1, 2, 3), joined, (2, 1, 3))


def test_an_unknown_operation_may_have_fewer_axes_than_it_reads() -> None:
    net, x = rows(3)
    net.nodes.append(Node("no such operation", (x,), {}, TensorType((6,))))
    graph = net.graph(net.op("reshape", len(net.nodes) - 1, shape=(1, 3, 2)))
    assert not Numbering([graph]).equal(graph, (1, 2, 3), graph, (2, 1, 3))


def test_where_fewer_places_are_read_they_are_the_first() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        first = net.op("gather", x, net.constant([1, 0], (1, 1, WIDTH), "integer"), axis=2)
        return net.graph(net.op("expand", first, shape=(1, length, WIDTH)))

    assert not equal(network, (1, 2), (3, 2))
    assert equal(network, (1, 2), (1, 3))


@pytest.mark.parametrize("operation", ["log_sum_exp", "softmax", "cumulative_sum"])
def test_an_axis_of_one_entry_is_not_the_one_beside_it(operation: str) -> None:
    def network(axis: int) -> Graph:
        net, x = rows(1)
        return net.graph(net.op("expand", net.op(operation, x, axis=axis), shape=(1, 2, WIDTH)))

    one, other = network(1), network(2)
    assert not Numbering([one, other]).equal(one, (1,), other, (1,))


def test_where_fewer_places_are_set_the_others_are_left() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        first = net.constant(0, (1, 1, 1), "integer")
        return net.graph(net.op("scatter", x, first, net.parameter("p", 1, 1, 1), axis=2))

    assert not equal(network, (1,), (1, 1))  # of two rows the last one is not set


@pytest.mark.parametrize("by", [2, [2, 3]])
def test_a_number_taken_away_is_not_the_number_added(by: Any) -> None:
    def shifted(operation: str, length: int) -> Graph:
        net, x = rows(length)
        return net.graph(net.op(operation, x, net.constant(by, (1, 1, WIDTH))))

    more, less = shifted("add", 1), shifted("subtract", 2)
    assert not Numbering([more, less]).equal(more, (1,), less, (1, 1))
    assert Numbering([more, less]).equal(more, (1,), shifted("add", 2), (2, 1))


@pytest.mark.parametrize("how", ["as it is", "columns", "matrices"])
def test_places_of_a_table_are_told_apart_however_it_is_read(how: str) -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        table = net.op("slice", net.parameter("places", 1, LONGEST, WIDTH), axis=1, start=0, stop=length, step=1)
        if how == "columns":
            table = net.op("take", table, net.constant([1, 0], (WIDTH,), "integer"), axis=2)
        if how == "matrices":
            one = net.op("reshape", table, shape=(1, length, 1, WIDTH))
            mixed = net.op("matmul", one, net.parameter("w", 1, 1, WIDTH, WIDTH))
            table = net.op("reshape", mixed, shape=(1, length, WIDTH))
        total = net.op("sum", net.op("tanh", net.op("add", x, table)), axes=(1,), keep=True)
        return net.graph(net.op("expand", total, shape=(1, length, WIDTH)))

    assert not equal(network, (1, 2, 3), (2, 1, 3))


def test_every_entry_of_the_last_row_counts() -> None:
    """0, and the product of the last row with itself."""
    net, x = rows(2)
    products = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
    graph = net.graph(net.op("multiply", products, net.constant([0, 1], (1, 1, 2))))
    assert not Numbering([graph]).equal(graph, (1, 2), graph, (1, 3))
    assert Numbering([graph]).equal(graph, (1, 2), graph, (3, 2))


@pytest.mark.parametrize("made", [tuple, frozenset])
def test_a_long_key_is_paid_by_its_entries(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    table = Table()
    table.of("sum", made(range(40)))
    table.of("sum", made(range(41)))
    with pytest.raises(TooMany):
        table.of("sum", made(range(42)))


@pytest.mark.parametrize("scored", [True, False])
def test_a_row_in_which_nothing_is_scored_mixes_nothing(scored: bool) -> None:
    """Where all scores are -inf no weight is defined, and none is another's."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        entry = 0 if scored else float("-inf")
        weights = net.op("softmax", net.constant([entry] * length**2, (1, length, length)), axis=2)
        return net.graph(net.op("add", x, net.op("matmul", weights, x)))

    assert equal(network, (1, 2), (1, 2, 1, 2)) is scored


@pytest.mark.parametrize("written", ["layer_norm", "by hand"])
@pytest.mark.parametrize("width", [1, 2])
def test_a_norm_of_one_entry_is_its_shift(width: int, written: str) -> None:
    """(x - x) / sqrt(epsilon) scale + shift: whatever the prompt."""

    def network(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", VOCABULARY, width), net.tokens(length, VOCABULARY), axis=0)
        scale, shift = net.parameter("scale", width), net.parameter("shift", width)
        if written == "layer_norm":
            return net.graph(net.op("layer_norm", x, scale, shift, axes=1, epsilon=Fraction(1, 9)))
        centred = net.op("subtract", x, net.op("mean", x, axes=(2,), keep=True))
        return net.graph(net.op("add", net.op("multiply", centred, scale), shift))

    assert equal(network, (1, 2), (1, 3)) is equal(network, (1,), (3, 2)) is (width == 1)
    families = [one["family"] for one in find_collisions({n: network(n) for n in (2, 3)})]
    assert ("equal states" in families) is (width == 1)


@pytest.mark.parametrize("value", [0, -1, 1])
def test_a_norm_of_one_entry_without_a_shift_is_zero(value: int) -> None:
    def network(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", VOCABULARY, 1), net.tokens(length, VOCABULARY), axis=0)
        if length == 1:
            return net.graph(net.op("expand", net.constant(value, (1, 1, 1)), shape=(1, 1, 1)))
        return net.graph(net.op("layer_norm", x, axes=1, epsilon=Fraction(1, 9)))

    assert equal(network, (1, 2), (1,)) is (value == 0)


def test_constants_that_are_not_known_are_one_in_a_network_and_differ_between_two() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        unknown = net.op("constant", shape=(1, 1, WIDTH), kind="real", value=None)
        return net.graph(net.op("multiply", x, unknown))

    assert equal(network, (1, 2), (3, 2))
    assert not equal(network, (2,), (3, 2)) and not equal(network, (3, 2), (1, 3, 2))


def test_a_norm_that_is_not_defined_is_no_shift() -> None:
    """Without an epsilon one entry is divided by 0; less itself -inf is no number."""

    def normed(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", VOCABULARY, 1), net.tokens(length, VOCABULARY), axis=0)
        return net.graph(net.op("layer_norm", x, axes=1, epsilon=Fraction(0)))

    def masked(length: int) -> Graph:
        net, x = rows(length)
        y = net.op("add", x, net.constant(float("-inf"), ()))
        return net.graph(net.op("multiply", net.op("subtract", y, y), x))

    assert not equal(normed, (1,), (2,)) and not equal(masked, (1,), (2,))


def test_entries_of_constants_are_numbers_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of numpy wrap beyond 64 bits, and have no number of bits."""
    seen: list[Any] = []
    constant = Table.constant

    def noted(self: Table, kind: str, shape: Any, values: tuple[Any, ...]) -> int:
        seen.extend(values)
        return constant(self, kind, shape, values)

    monkeypatch.setattr(Table, "constant", noted)
    net, x = rows(2)
    large = net.constant(2**62, (2,), "integer")
    twice = net.op("as_real", net.op("multiply", net.op("add", large, large), net.constant(4, (), "integer")))
    flags = net.op("select", net.constant(True, (1, 2, WIDTH), "boolean"), x, net.op("reshape", twice, shape=(1, 1, 2)))
    graph = net.graph(flags)
    Numbering([graph]).last_state(graph, (1, 2))
    assert Fraction(2**65) in seen
    assert {type(value) for value in seen} <= {int, bool, float, Fraction}
