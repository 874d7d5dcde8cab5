"""All pairs within a threshold: the boundary is decided exactly, by every method."""

import math
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerics.pairs.search import ClosePairs, Method, Pair, closest_pair, closest_pairs, pairs_within
from numerics.pairs.shards import Here, pairs_within_in_shards
from proofs import InvalidInput
from tests.numerics.point_sets import assert_distance, made, point_sets, small_parts, squares

METHODS = get_args(Method)


def assert_within(found, exact, threshold):
    limit = Fraction(threshold) ** 2
    expected = sorted((square, *pair) for pair, square in exact.items() if square <= limit)
    assert [(pair.first, pair.second) for pair in found] == [tuple(pair) for _, *pair in expected]
    for pair in found:
        assert_distance(pair.distance, exact[pair.first, pair.second])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(point_sets(), st.sampled_from(METHODS), st.floats(0, 1), st.sampled_from([-1, 0, 1]))
def test_threshold_is_decided_exactly(points, method, share, step):
    """Thresholds are taken at the distances that occur, and one float to either side."""
    exact = squares(points)
    chosen = min(sorted(exact.values())[int(share * (len(exact) - 1))], Fraction(10**308) ** 2)
    scale = 2 ** max(0, 1200 - chosen.numerator.bit_length() + chosen.denominator.bit_length())
    threshold = math.isqrt(int(chosen * scale**2)) / scale
    threshold = math.nextafter(threshold, step * math.inf) if step else threshold
    threshold = min(max(threshold, 0.0), 1e308)
    with small_parts():
        assert_within(pairs_within(points, threshold=threshold, method=method), exact, threshold)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [5e-324, 1e-200, 1.0, 1e200])
def test_a_threshold_that_no_scale_holds_takes_every_pair(method, size):
    points = size * np.arange(1, 21, dtype=float).reshape(10, 2)
    points[5:] *= 2**40
    with small_parts():
        assert len(pairs_within(points, threshold=1e308, method=method)) == 45


@pytest.mark.parametrize("method", METHODS)
def test_the_boundary_belongs_to_the_answer(method):
    points = np.zeros((40, 20), dtype=np.float32)
    points[:, 0] = 5 * np.arange(40)
    points[:, 19] = 12 * np.arange(40)  # neighbours are exactly 13 apart
    assert len(pairs_within(points, threshold=13.0, method=method)) == 39
    assert len(pairs_within(points, threshold=math.nextafter(13.0, 0), method=method)) == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_irrational_distance_is_decided_by_its_exact_square(method):
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    below, above = 1.4142135623730949, 1.4142135623730951
    assert Fraction(below) ** 2 < 2 < Fraction(above) ** 2
    assert len(pairs_within(points, threshold=below, method=method)) == 0
    assert len(pairs_within(points, threshold=above, method=method)) == 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(point_sets(most_rows=16))
def test_threshold_zero_gives_equal_rows(points):
    assert_within(pairs_within(points, threshold=0.0), squares(points), 0.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2)), min_size=2, max_size=6), st.sampled_from(METHODS))
def test_pairs_are_ordered_by_exact_distances_and_not_by_what_is_reported(steps, method):
    """Pairs 1 apart, of which some are 2**-60 farther than others: no float tells them apart. Rows may be repeated."""
    rows = []
    for place, (step, times) in enumerate(steps):
        rows += [[10 * place, 0.0], *[[10 * place + 1, step * 2.0**-30]] * times]
    points = np.array(rows, dtype=np.float32)
    found = pairs_within(points, threshold=1.5, method=method)
    assert_within(found, squares(points), 1.5)
    distinct = pairs_within(points, threshold=1.5, distinct=True, method=method)
    assert list(distinct) == list(pairs_within_in_shards(points, threshold=1.5, pieces=2, workers=Here()))
    assert list(distinct) == list(closest_pairs(points, count=len(distinct), distinct=True))


def test_classes_of_equal_rows_pair_with_all_their_members():
    points = np.array([[0.0], [5.0], [0.0], [1.0], [-0.0], [1.0]])
    found = pairs_within(points, threshold=1.0)
    zero = [(0, 2), (0, 4), (2, 4), (3, 5)]
    one = [(0, 3), (0, 5), (2, 3), (2, 5), (3, 4), (4, 5)]
    assert [(pair.first, pair.second) for pair in found] == zero + one


def test_answers_grow_with_the_threshold_and_meet_the_minimum():
    points = made("plain", 600, 40, 1, np.float32)
    smallest = closest_pair(points).distance
    counts = [len(pairs_within(points, threshold=smallest * factor)) for factor in (0.999, 1.001, 1.1, 1.3)]
    assert counts[0] == 0 < counts[1] <= counts[2] <= counts[3]


@pytest.mark.parametrize("method", METHODS)
def test_many_pairs_overflow_no_buffer(method):
    points = made("plain", 700, 24, 1, np.float64)
    assert len(pairs_within(points, threshold=1e9, method=method)) == 700 * 699 // 2


def test_memory_map_is_searched_in_place(tmp_path):
    points = np.memmap(tmp_path / "points", dtype=np.float32, mode="w+", shape=(5000, 64))
    points[:] = made("plain", 5000, 64, 2, np.float32)
    points[4321] = points[1234]
    points[4321, 7] += np.float32(1e-4)
    found = pairs_within(np.memmap(tmp_path / "points", dtype=np.float32, mode="r", shape=(5000, 64)), threshold=1e-3)
    assert [(pair.first, pair.second) for pair in found] == [(1234, 4321)]
    assert_distance(found[0].distance, squares(points[[1234, 4321]])[0, 1])


def test_pairs_are_a_sequence_of_columns():
    found = pairs_within(np.array([[0.0], [1.0], [3.0]]), threshold=2.0)
    assert list(found) == [Pair(1.0, 0, 1), Pair(2.0, 1, 2)] and found[-1] == Pair(2.0, 1, 2)
    assert isinstance(found[:1], ClosePairs) and list(found[:1]) == [Pair(1.0, 0, 1)]
    assert Pair(1.0, 0, 1) in found and found.first.tolist() == [0, 1] and found.distance.dtype == np.float64


@pytest.mark.parametrize("threshold", [-1e-9, math.inf, math.nan])
def test_threshold_is_checked(threshold):
    with pytest.raises(InvalidInput, match="threshold="):
        pairs_within(np.eye(3), threshold=threshold)
    with pytest.raises(InvalidInput, match="shape="):
        pairs_within(np.eye(1), threshold=1.0)
