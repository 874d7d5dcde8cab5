"""What must be proved, and the soundness defects that an earlier prover had."""

from fractions import Fraction

import pytest

from proofs import AnalyticityProof, Obstructions, Verdict, check, prove_analytic
from proofs.network.graph import Graph
from proofs.provers.branches import with_witness
from tests.proofs.building import Net, attention_net

TINY = Fraction(1, 2**20)


def regularity(graph: Graph) -> str:
    found = prove_analytic(graph)
    accepted = check(found.to_json())
    assert accepted.verdict is Verdict.ACCEPTED, accepted.reason
    return str(found.regularity)


def test_a_smooth_block_is_analytic_with_every_condition_discharged() -> None:
    found = prove_analytic(attention_net())
    assert isinstance(found, AnalyticityProof)
    assert {c.statement for c in found.conditions} == {"argument > 0", "softmax denominator > 0"} | {
        c.statement for c in found.conditions if "indices" in c.statement
    }


def test_epsilon_zero_is_unproved_and_the_place_is_named() -> None:
    found = prove_analytic(attention_net(epsilon=Fraction(0)))
    assert isinstance(found, Obstructions)
    assert (str(found.regularity), found.verdict) == ("unproved", Verdict.UNDECIDED)
    assert [o.operation for o in found.obstructions] == ["rsqrt"]
    assert found.obstructions[0].source.startswith("model.py:")


def test_relu_is_c0_with_a_certified_witness() -> None:
    found = prove_analytic(attention_net(activation="relu"))
    assert isinstance(found, Obstructions)
    assert str(found.regularity) == "C0"
    with_one = with_witness(found)
    assert with_one.witness is not None
    assert with_one.verdict is Verdict.REFUTED
    assert check(with_one).verdict is Verdict.ACCEPTED


def power_of_relu(exponent: int, *, inner: str | None = None) -> Graph:
    net = Net()
    x = net.parameter("x", 1, 3, 4)
    x = net.op(inner, x) if inner else x
    net.op("power", net.op("relu", x), exponent=exponent)
    return net.graph()


def test_a_power_of_relu_is_smoother_by_one() -> None:
    assert [regularity(power_of_relu(n)) for n in (1, 2, 3)] == ["C0", "C1", "C2"]


def test_a_power_of_relu_keeps_the_class_inside() -> None:
    assert regularity(power_of_relu(2, inner="absolute")) == "C0"


def test_a_square_written_as_a_product_counts_as_one() -> None:
    net = Net()
    r = net.op("relu", net.parameter("x", 1, 3, 4))
    net.op("multiply", r, r)
    assert regularity(net.graph()) == "C1"


def test_relu_minus_relu_of_the_negative_is_only_claimed_c0_and_has_no_witness() -> None:
    net = Net()
    x = net.parameter("x", 1, 3, 4)
    net.op("subtract", net.op("relu", x), net.op("relu", net.op("negate", x)))
    found = prove_analytic(net.graph())
    assert isinstance(found, Obstructions)
    assert str(found.regularity) == "C0"
    assert with_witness(found).witness is None


def test_inactive_kinks_are_analytic() -> None:
    net = Net()
    x = net.op("softplus", net.parameter("x", 1, 3, 4), beta=Fraction(1))
    for operation in ("relu", "absolute"):
        x = net.op(operation, x)
    net.op("clamp", x, low=Fraction(0), high=None)
    assert regularity(net.graph()) == "analytic"


def test_a_clamp_that_can_act_is_c0() -> None:
    net = Net()
    net.op("clamp", net.parameter("x", 1, 3, 4), low=Fraction(-8), high=Fraction(8))
    assert regularity(net.graph()) == "C0"


def test_an_unknown_denominator_is_unproved() -> None:
    net = Net()
    unknown = net.op("constant", shape=(), kind="real", value=None, name="table")
    net.op("divide", net.parameter("x", 1, 3, 4), unknown)
    assert regularity(net.graph()) == "unproved"


def test_a_vector_over_its_norm_is_unproved() -> None:
    net = Net()
    x = net.parameter("x", 1, 3, 4)
    norm = net.op("sqrt", net.op("sum", net.op("power", x, exponent=2), axes=(2,), keep=True))
    net.op("divide", x, norm)
    assert regularity(net.graph()) == "unproved"


def test_a_wholly_masked_row_is_unproved() -> None:
    net = Net()
    mask = net.constant([0, 0, float("-inf"), float("-inf")], (2, 2))
    net.op("softmax", net.op("add", net.parameter("x", 1, 2, 2), mask), axis=2)
    assert regularity(net.graph()) == "unproved"


@pytest.mark.parametrize("operation", ["tanh", "multiply", "matmul", "relu", "expm1"])
def test_a_mask_that_reaches_anything_but_a_softmax_or_exp_is_unproved(operation: str) -> None:
    net = Net()
    x = net.op("add", net.parameter("x", 1, 2, 2), net.constant([0, float("-inf"), 0, 0], (2, 2)))
    net.op(operation, x, *([net.parameter("y", 1, 2, 2)] if operation in ("multiply", "matmul") else []))
    assert regularity(net.graph()) == "unproved"


def test_exp_of_a_mask_is_zero_there_and_so_only_known_to_be_non_negative() -> None:
    def graph(then: str) -> Graph:
        net = Net()
        x = net.op("add", net.parameter("x", 1, 2, 2), net.constant([0, float("-inf"), 0, 0], (2, 2)))
        net.op(then, net.op("exp", x), **({"axes": (2,), "keep": True} if then == "sum" else {}))
        return net.graph()

    assert regularity(graph("sum")) == "analytic"
    assert regularity(graph("log")) == "unproved"
    assert regularity(graph("sqrt")) == "C0"


def test_a_large_negative_constant_is_no_mask() -> None:
    net = Net()
    net.op("add", net.parameter("x", 1, 2, 2), net.constant(-(10**31)))
    found = prove_analytic(net.graph())
    assert str(found.regularity) == "polynomial"
    assert all(fact.excluded is None for fact in found.facts)


def test_log1p_is_only_bounded_by_what_is_known_of_its_argument() -> None:
    net = Net()
    x = net.op("log1p", net.op("tanh", net.parameter("x", 1, 2, 2)))
    net.op("rsqrt", x)
    assert regularity(net.graph()) == "unproved"


def test_one_minus_an_exponential_needs_the_strict_bound() -> None:
    def recurrence(strict: bool) -> Graph:
        net = Net()
        x = net.parameter("x", 1, 2, 2)
        step = net.op("softplus", x, beta=Fraction(1)) if strict else net.op("power", x, exponent=2)
        net.op("sqrt", net.op("subtract", net.constant(1), net.op("exp", net.op("negate", step))))
        return net.graph()

    assert regularity(recurrence(strict=True)) == "analytic"
    assert regularity(recurrence(strict=False)) == "C0"


@pytest.mark.parametrize(("axes", "expected"), [((2,), "analytic"), ((1,), "C0")])
def test_a_maximum_is_harmless_only_as_the_shift_of_its_own_softmax(axes: tuple[int, ...], expected: str) -> None:
    net = Net()
    x = net.parameter("x", 1, 3, 3)
    shifted = net.op("subtract", x, net.op("largest", x, axes=axes, keep=True))
    net.op("softmax", shifted, axis=2)
    assert regularity(net.graph()) == expected


def test_soft_capping_is_analytic() -> None:
    net = Net()
    cap = net.constant(30)
    net.op("multiply", net.op("tanh", net.op("divide", net.parameter("x", 1, 3, 3), cap)), cap)
    assert regularity(net.graph()) == "analytic"


def routed(count: int = 1) -> Graph:
    net = Net()
    gates = net.op("softmax", net.parameter("logits", 1, 3, 4), axis=2)
    places = net.op("top_indices", gates, axis=2, count=count)
    net.op("gather", net.op("multiply", net.parameter("values", 1, 3, 4), gates), places, axis=2)
    return net.graph()


def test_routing_is_unproved_without_and_discontinuous_with_its_witness() -> None:
    found = prove_analytic(routed())
    assert isinstance(found, Obstructions)
    assert (str(found.regularity), found.verdict) == ("unproved", Verdict.UNDECIDED)
    certified = with_witness(found)
    assert (str(certified.regularity), certified.verdict) == ("discontinuous", Verdict.REFUTED)
    assert check(certified).verdict is Verdict.ACCEPTED


def test_rounding_jumps_and_has_a_witness() -> None:
    net = Net()
    net.op("as_real", net.op("floor", net.op("multiply", net.parameter("x", 1, 2, 2), net.constant(3))))
    found = prove_analytic(net.graph())
    assert isinstance(found, Obstructions)
    assert str(with_witness(found).regularity) == "discontinuous"


def test_an_unknown_operation_is_unproved_and_named() -> None:
    net = Net()
    net.op("tanh", net.op("aten.mystery", net.parameter("x", 1, 2, 2)))
    found = prove_analytic(net.graph())
    assert isinstance(found, Obstructions)
    assert [o.operation for o in found.obstructions] == ["aten.mystery"]
    assert regularity(net.graph()) == "unproved"


def test_indices_outside_their_table_are_unproved() -> None:
    net = Net()
    net.op("take", net.parameter("table", 4, 2), net.tokens(vocabulary=5), axis=0)
    assert regularity(net.graph()) == "unproved"


def test_every_kink_is_listed_not_only_the_first() -> None:
    net = Net()
    x = net.op("relu", net.parameter("x", 1, 2, 2))
    net.op("absolute", net.op("subtract", x, net.constant(1)))
    found = prove_analytic(net.graph())
    assert isinstance(found, Obstructions)
    assert [o.operation for o in found.obstructions] == ["relu", "absolute"]
