"""Enclosures of certificates where bounds are easily lost: edges of domains, masks, long sums, whole numbers, cuts."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs import InvalidInput, certify_separation, prove_analytic
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_functions import FUNCTIONS
from proofs.arithmetic.fixed_point import LARGEST, LONGEST_RATIO, SMALLEST, Fixed, FixedPoint, integers
from proofs.arithmetic.limbs import MOST_TERMS, product, product_with_slices, slices_of
from proofs.arithmetic.midpoint import enclosed
from proofs.arithmetic.whole import are_discrete, whole
from proofs.enclosures.distances import lower_bound, separation
from proofs.enclosures.enclosure import Enclosure
from proofs.enclosures.segments import cuts
from proofs.errors import Unsupported
from proofs.kernel.result import Rejected, digest
from proofs.kernel.separation import graphs_in
from proofs.network.graph import Constant, Graph
from proofs.operations import REGISTRY
from tests.proofs.building import Net

NEAR = {"log": 0, "log1p": -1, "sqrt": 0, "rsqrt": 0}  # the lower end of what a function takes
MASKED = float("-inf")


# Functions close to the end of their domain, where slopes are without bound.


@given(
    st.sampled_from(sorted(NEAR)), st.sampled_from([48, 64, 96]), st.integers(-(2**12), 2**12), st.integers(0, 40),
    st.integers(0, 2**12), st.integers(-(2**20), 2**20),
)  # fmt: skip
def test_near_the_end_of_a_domain_values_lie_inside_or_nothing_is_said(
    name: str, bits: int, steps: int, shift: int, radius: int, place: int
) -> None:
    mantissa = (NEAR[name] << bits) + (steps << min(shift, bits - 13))
    unit = 2.0**-bits
    found = FUNCTIONS[name](integers([mantissa], (1,)), np.array([radius * unit]), None, bits)
    if found is None:
        return
    values, slope = found
    assert slope[0] >= 0
    flint.ctx.prec = 400
    try:
        inside = mantissa + radius * place / 2**20
        true = getattr(flint.arb((round(inside), -bits)), name)()
        own = flint.arb(int(values[0])) + flint.arb(0, float(slope[0]) * radius * (1 + 2**-40) + 1 + 2**-30)
        assert own.overlaps(true * flint.arb((1, bits)))
    finally:
        flint.ctx.prec = 53


def test_a_slope_that_is_not_known_to_be_positive_is_none() -> None:
    """-1 + 3 2^-41 + 2^-60: above -1, by less than doubles and the slack tell."""
    near = -(2**48) + 384
    assert FUNCTIONS["log1p"](integers([near], (1,)), np.array([2.0**-48]), None, 48) is None
    assert FUNCTIONS["log1p"](integers([near + 2**10], (1,)), np.array([2.0**-48]), None, 48) is not None


# Comparisons.

entry = st.one_of(st.just(MASKED), st.integers(-3, 3))


@given(st.lists(st.tuples(entry, entry), min_size=1, max_size=5))
def test_a_masked_entry_is_below_all_that_are_not(pairs: list[tuple[Any, Any]]) -> None:
    a = FixedPoint(64)
    x, y = (a.constant(Constant((len(pairs),), "real", tuple(column))) for column in zip(*pairs, strict=True))
    assert a.greater(x, y).tolist() == [one > other for one, other in pairs]


def test_what_stands_in_for_a_masked_entry_decides_nothing() -> None:
    """1000 where -inf > x, else x^2: never 1000."""
    net = Net()
    x = net.op("take", net.constant([3, -3, 5, -5], (4, 1)), net.tokens(1, 4), axis=0)
    above = net.op("greater", net.constant([MASKED], (1, 1, 1)), x)
    net.op("select", above, net.constant([1000], (1, 1, 1)), net.op("multiply", x, x))
    found = certify_separation(net.graph(), {}, [[0], [1], [2], [3]])
    assert found.found.minimum is not None and found.found.minimum <= 16
    assert {(0, 1), (2, 3)} <= {tuple(pair) for pair in found.to_json()["unresolved"]}


# Sums and products.


@pytest.mark.parametrize(("limbs", "terms"), [(40, 1100), (33, 4096), (64, 3)])
def test_long_products_of_long_integers_are_exact(limbs: int, terms: int) -> None:
    low = -(2**23) * sum(2 ** (24 * i) for i in range(limbs))  # every balanced limb at its end
    one = integers([low] * terms, (1, terms))
    assert product(one, one.T)[0, 0] == terms * low * low


def test_products_with_weights_are_of_as_many_terms_as_a_sum_holds() -> None:
    slices = slices_of(np.ones((4, 1), dtype=np.float32))
    many = np.broadcast_to(integers([1], (1, 1)), (1, MOST_TERMS + 1))
    with pytest.raises(Unsupported, match="at most"):
        product_with_slices(many, replace(slices, shape=(MOST_TERMS + 1, 1)))


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4))
def test_whole_numbers_enter_exactly(values: list[int]) -> None:
    fixed = FixedPoint(64).fixed(np.array(values, dtype=np.int64))
    assert fixed.mantissa.tolist() == [value << 64 for value in values]
    assert not fixed.radius.any()


def test_states_that_are_whole_numbers_are_no_states() -> None:
    net = Net()
    net.op("take", net.constant([2**60, 2**60 + 129], (2, 1), "integer"), net.tokens(1, 2), axis=0)
    with pytest.raises(Unsupported, match="real states"):
        certify_separation(net.graph(), {}, [[0], [1]])


@given(st.integers(1, 60), st.sampled_from([SMALLEST, 128, LARGEST]))
def test_powers_of_a_known_number_stay_short_and_inside(times: int, bits: int) -> None:
    a = FixedPoint(bits)
    x, exact = a.scalar(Fraction(2, 3)), Fraction(2, 3)
    for _ in range(times):
        x = a.multiply(x, x)
        exact = max(exact * exact, Fraction(1, 2**4000))  # far below a unit
        if x.ratio is not None:
            assert x.ratio.denominator.bit_length() <= LONGEST_RATIO
    near = abs(Fraction(int(x.mantissa[()]), 2**bits) - exact)
    assert near <= Fraction(float(x.radius)) / 2**bits + Fraction(1, 2**3900)


# Cuts and layers.


def chain(layer: int, products: int) -> Graph:
    net = Net()
    x = net.op("take", net.constant([1, 2], (2, 1)), net.tokens(1, 2), axis=0)
    for _ in range(products):
        x = net.op("matmul", x, net.constant([1], (1, 1)))
    net.op("matmul", x, net.constant([0], (1, 1)))
    return net.graph(layer=layer)


@given(st.integers(-9, 9), st.integers(0, 9))
def test_the_last_cut_is_the_output_whatever_the_graph_says_of_its_layer(layer: int, products: int) -> None:
    graph = chain(layer, products)
    found = cuts(graph)
    assert found[-1] == graph.output
    assert sorted(set(found)) == list(found)


@given(st.integers(-(2**70), -1))
def test_a_layer_is_a_number_of_blocks(layer: int) -> None:
    data = chain(0, 1).to_json() | {"layer": layer}
    with pytest.raises(InvalidInput, match="number of blocks"):
        Graph.from_json(data)


# Kinds of numbers, and what no enclosure is of.


def test_tokens_are_integers_and_parameters_real() -> None:
    for operation, kind in (("tokens", "real"), ("tokens", "boolean"), ("parameter", "integer")):
        with pytest.raises(InvalidInput, match="well formed"):
            Net().op(operation, shape=(1, 1), kind=kind, vocabulary=9, name="p")


def test_whole_numbers_beside_real_ones_are_refused() -> None:
    assert are_discrete([np.array([1]), np.array([True])]) and not are_discrete([np.array([1.0])])
    for operation in ("add", "multiply", "greater", "equal"):
        for pair in permutations([np.array([2**53 + 1]), np.array([1.0])]):
            with pytest.raises(Unsupported, match="one kind"):
                REGISTRY[operation].evaluate(FixedPoint(64), pair, {})
    with pytest.raises(Unsupported, match="whole numbers"):
        whole([Fraction(1, 2)], (1,))


@given(st.integers(-(2**62), 2**62))
def test_a_whole_number_that_is_no_double_is_no_midpoint(value: int) -> None:
    if abs(value) <= 2**53:
        assert int(enclosed(np.array([value])).mid[0]) == value
    else:
        with pytest.raises(Unsupported, match="no doubles"):
            enclosed(np.array([value]))


def test_masked_states_are_enclosed_by_nothing() -> None:
    """Two cuts, and a mask between them: e^(-inf) is 0, and not what stands in for it."""
    net = Net()
    x = net.op("take", net.constant([0, 0, 0, 1], (2, 2)), net.tokens(1, 2), axis=0)
    x = net.op("matmul", x, net.constant([1, 0, 0, 1], (2, 2)))
    x = net.op("add", x, net.constant([0, MASKED], (2,)))
    y = net.op("exp", net.op("reshape", x, shape=(1, 2)))
    net.op("reshape", net.op("matmul", y, net.constant([1, 0, 0, 1], (2, 2))), shape=(1, 1, 2))
    graph = net.graph(layer=0)
    assert len(cuts(graph)) > 1
    with pytest.raises(Unsupported, match="masked"):
        certify_separation(graph, {}, [[0], [1]])


# Distances of very many states, and of states of different widths.


def test_the_sieve_of_many_states_loses_none_of_the_least_distances() -> None:
    """Squares below the least double: a root of a rounded square may be larger than what it is the root of."""
    bits = 960

    def state(value: Fraction) -> Enclosure:
        return Enclosure(bits, integers([round(value * 2**bits)], (1, 1)), (3,))

    near = [Fraction(0), Fraction(9, 10) / 2**537, -Fraction(3, 4) / 2**537]
    states = [state(value) for value in (*near, *map(Fraction, range(2, 1500)))]
    found = separation(states)
    assert found.closest == (0, 2)
    assert found.minimum == lower_bound(states[0], states[2])


def test_states_of_two_widths_are_not_compared() -> None:
    def of(length: int, width: int) -> Graph:
        net = Net()
        net.op("take", net.constant(list(range(5 * width)), (5, width)), net.tokens(length), axis=0)
        return net.graph(layer=0)

    honest = certify_separation([of(1, 2), of(2, 2)], {}, [[0], [1, 2]]).to_json()
    assert graphs_in(honest)
    graphs = [of(1, 1).to_json(), of(2, 2).to_json()]
    body = {**honest, "graphs": graphs, "claim": {**honest["claim"], "graphs": [digest(graph) for graph in graphs]}}
    del body["digest"]
    with pytest.raises(Rejected, match="different widths"):
        graphs_in({**body, "digest": digest(body)})


# What is too large to be written.


def test_an_epsilon_that_no_float_holds_is_no_fault() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 5, 2), net.tokens(1), axis=0)
    net.op("layer_norm", x, axes=1, epsilon=Fraction(10**400))
    assert prove_analytic(net.graph()).verdict.exit_status == 0


def test_an_enclosure_that_may_be_zero_is_divided_by_nowhere() -> None:
    a = FixedPoint(64)
    with pytest.raises(Undecided):
        a.apply("log", Fixed(integers([1], (1,)), np.array([1.0])))
    assert math.isfinite(float(a.apply("log", Fixed(integers([4], (1,)), np.array([1.0]))).radius[0]))
