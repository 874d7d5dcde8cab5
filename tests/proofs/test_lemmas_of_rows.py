"""What normalises along an axis: before a softmax the maximum of its row may be subtracted, and nothing else."""

from typing import Any

import pytest

from proofs.arithmetic.bounds import EVERYTHING
from proofs.kernel.lemmas.instance import OPEN, Line
from proofs.network.graph import Node, TensorType
from proofs.regularity import ANALYTIC, CONTINUOUS, POLYNOMIAL, Regularity
from tests.proofs.lines import HALF, derived, last_line, real


def shifted(
    difference: str, arguments: tuple[int, ...], largest: str, of: int, axes: tuple[int, ...], keep: bool
) -> Regularity:
    """The class of softmax(x - max x) along axis 1, as it stands there or changed; 0 is x, 1 another input, 2 max."""
    x, y = (Node("input", (), {}, TensorType((3, 3), "real")) for _ in range(2))
    over = tuple(1 if axis in axes else 3 for axis in range(2))
    top = Node(largest, (of,), {"axes": axes, "keep": keep}, TensorType(over if keep else (3,), "real"))
    apart = Node(difference, arguments, {}, TensorType((3, 3), "real"))
    node = Node("softmax", (3,), {"axis": 1}, TensorType((3, 3), "real"))
    lines = [Line(POLYNOMIAL, EVERYTHING), Line(POLYNOMIAL, EVERYTHING), Line(CONTINUOUS), Line(CONTINUOUS)]
    return last_line([x, y, top, apart, node], lines).regularity


def test_a_maximum_along_the_axis_may_be_subtracted_before() -> None:
    assert shifted("subtract", (0, 2), "largest", 0, (1,), True) == ANALYTIC


@pytest.mark.parametrize(
    ("difference", "arguments", "largest", "of", "axes", "keep"),
    [
        ("multiply", (0, 2), "largest", 0, (1,), True), ("subtract", (2, 0), "largest", 0, (1,), True),
        ("subtract", (0, 2), "sum", 0, (1,), True), ("subtract", (0, 2), "largest", 1, (1,), True),
        ("subtract", (0, 2), "largest", 0, (0,), True), ("subtract", (0, 2), "largest", 0, (0, 1), True),
        ("subtract", (0, 2), "largest", 0, (1,), False), ("negate", (0,), "largest", 0, (1,), True),
        ("unknown", (0, 2), "largest", 0, (1,), True), ("subtract", (0, 2), "largest", 0, (2,), True),
        ("subtract", (0, 2), "absolute", 0, (1,), True), ("subtract", (1, 2), "largest", 0, (1,), True),
    ],
)  # fmt: skip
def test_nothing_else_is_taken_for_it(
    difference: str, arguments: Any, largest: str, of: int, axes: Any, keep: bool
) -> None:
    assert shifted(difference, arguments, largest, of, axes, keep) == CONTINUOUS


def test_rows_without_an_entry_prove_nothing_and_those_with_one_do() -> None:
    assert derived("softmax", [real((2, 0))], (2, 0), axis=1) == OPEN
    assert derived("log_sum_exp", [real((2, 0))], (2, 1), axis=1) == OPEN
    assert derived("log_sum_exp", [real((2, 1))], (2, 1), axis=1).regularity == ANALYTIC
    assert derived("log_sum_exp", [real((2, 3, 4))], (1, 3, 4), axis=0).regularity == ANALYTIC


@pytest.mark.parametrize("others", [(), ((4,),), ((4,), (4,))])
def test_a_layer_norm_is_analytic_with_scale_and_shift_and_without(others: tuple[tuple[int, ...], ...]) -> None:
    arguments = [real((2, 4)), *map(real, others)]
    assert derived("layer_norm", arguments, (2, 4), axes=1, epsilon=HALF).regularity == ANALYTIC
    assert derived("layer_norm", arguments, (2, 4), axes=1, epsilon=HALF - HALF) == OPEN


def test_a_layer_norm_of_one_entry_is_analytic_and_one_over_all_axes_is() -> None:
    assert derived("layer_norm", [real((2, 1))], (2, 1), axes=1, epsilon=HALF).regularity == ANALYTIC
    assert derived("layer_norm", [real((2, 4))], (2, 4), axes=2, epsilon=HALF).regularity == ANALYTIC
    arguments = [real((2, 3, 4)), real((4,))]
    assert derived("layer_norm", arguments, (2, 3, 4), axes=1, epsilon=HALF).regularity == ANALYTIC
