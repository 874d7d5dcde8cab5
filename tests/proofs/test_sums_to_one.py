"""Weights that sum to one along an axis still do where they are moved whole, and not where one is left out."""

from typing import Any

import numpy as np
import pytest

from proofs.kernel.value_numbering.rules import RULES
from proofs.kernel.value_numbering.table import Table
from proofs.kernel.value_numbering.values import At, Value
from tests.proofs.building import Net


@pytest.mark.parametrize(
    ("operation", "attributes", "kept"),
    [
        ("slice", {"start": 0, "stop": 6, "step": 1}, {2}), ("slice", {"start": 1, "stop": 6, "step": 1}, set()),
        ("slice", {"start": 0, "stop": 5, "step": 1}, set()), ("slice", {"start": 0, "stop": 6, "step": 2}, set()),
        ("reshape", {"shape": (1, 3, 6, 1)}, {2}), ("reshape", {"shape": (1, 3, 3, 2)}, set()),
        ("reshape", {"shape": (1, 3, 2, 3)}, set()), ("reshape", {"shape": (1, 18)}, set()),
        ("reshape", {"shape": (3, 6)}, {1}),
        ("permute", {"order": (2, 0, 1)}, {0}), ("permute", {"order": (0, 1, 2)}, {2}),
        ("expand", {"shape": (5, 1, 3, 6)}, {3}),
    ],
    ids=str,
)  # fmt: skip
def test_weights_sum_to_one_where_none_is_left_out(operation: str, attributes: Any, kept: set[int]) -> None:
    extra = {"axis": 2} if operation == "slice" else {}
    assert sums_to_one((1, 3, 6), 2, operation, **attributes, **extra) == kept


def test_two_axes_that_are_read_as_one_sum_to_more_than_one() -> None:
    assert sums_to_one((1, 3, 2), 1, "reshape", shape=(1, 3, 2)) == {1}
    assert sums_to_one((1, 3, 2), 1, "reshape", shape=(1, 6)) == set()
    assert sums_to_one((1, 2, 3), 1, "reshape", shape=(1, 6)) == set()


def sums_to_one(size: tuple[int, ...], along: int, operation: str, **attributes: Any) -> frozenset[int]:
    """Along which axes weights that sum to one along one are known to sum to one once they are moved."""
    net, table = Net(), Table()
    weights = net.op("softmax", net.parameter("scores", *size), axis=along)
    numbers = np.array([table.fresh() for _ in np.ndindex(*size)], dtype=np.int64).reshape(size)
    value = Value(numbers, frozenset({along}))
    moved = net.op(operation, weights, **attributes)
    rank = len(net.nodes[moved].type.shape)
    at = At(table, net.graph(), moved, tuple(range(rank)), (value,), {weights: value}.__getitem__, (1,) * rank)
    return RULES[operation](at).sums_to_one
