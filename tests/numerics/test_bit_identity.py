"""Rows that are equal entry by entry: the classes at distance zero, whatever the fingerprint does."""

import numpy as np
import pytest
from hypothesis import given, settings

from numerics.pairs.bit_identity import _classes, bit_identical
from numerics.pairs.points import PointSet, point_set
from proofs import InvalidInput
from tests.numerics.point_sets import point_sets, squares


@settings(max_examples=100, deadline=None, derandomize=True)
@given(point_sets())
def test_groups_are_the_classes_at_distance_zero(points):
    groups = bit_identical(points)
    together = {(a, b) for group in groups for a in group for b in group if a < b}
    assert together == {pair for pair, square in squares(points).items() if square == 0}
    assert list(groups) == sorted(groups) and all(list(group) == sorted(group) for group in groups)


def test_signed_zeros_are_equal_and_neighbouring_floats_are_not():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    points = np.array([[0.0, 1.0], [-0.0, 1.0], [tiny, 1.0], [0.0, 1.0]], dtype=np.float32)
    assert bit_identical(points) == ((0, 1, 3),)


def test_a_collision_of_the_fingerprint_is_no_collision_of_rows():
    points = point_set(np.array([[1.0], [2.0], [1.0], [3.0], [2.0]]))
    same = PointSet(points.values, np.zeros(5, dtype=np.uint64), points.shift)
    assert _classes(same, np.arange(5)) == [[0, 2], [1, 4]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_rows_may_be_equal(dtype):
    assert bit_identical(np.full((5000, 3), 0.1, dtype=dtype)) == (tuple(range(5000)),)


def test_small_integers_keep_their_fingerprints_apart():
    rows = np.stack(np.meshgrid(*[np.arange(16.0)] * 4), axis=-1).reshape(-1, 4)
    assert len(np.unique(point_set(rows).fingerprints)) == len(rows)
    assert len(np.unique(point_set(rows.astype(np.float32)).fingerprints)) == len(rows)


def test_what_is_no_set_of_points_is_refused():
    with pytest.raises(InvalidInput, match="row 1"):
        bit_identical(np.array([[1.0], [np.nan]]))
