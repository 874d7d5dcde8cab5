"""Distances: every layer keeps its promise, and the exact one decides."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from numerics.pairs.exact_distance import (
    UNDERFLOW,
    distances,
    doubled_squares,
    exact_order,
    exact_square,
    exact_squares,
    relative_error,
    rounded_root,
    scaled_distances,
    within,
)
from numerics.pairs.points import point_set
from tests.numerics.point_sets import assert_distance, point_sets, squares


def all_pairs(points):
    firsts, seconds = np.triu_indices(len(points), 1)
    return firsts.astype(np.int64), seconds.astype(np.int64)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(point_sets(most_rows=12))
def test_every_layer_keeps_its_promise(points):
    checked, exact = point_set(points), list(squares(points).values())
    firsts, seconds = all_pairs(points)
    rough = np.empty(len(firsts))
    scaled_distances(checked.values, checked.unit, firsts, seconds, np.inf, rough)
    doubled = doubled_squares(checked, firsts, seconds)
    error = Fraction(relative_error(points.shape[1]))
    for pair, (first, second) in enumerate(zip(firsts.tolist(), seconds.tolist(), strict=True)):
        scaled = exact[pair] / Fraction(4) ** checked.shift
        slack = Fraction(UNDERFLOW)
        low, high = Fraction(rough[pair]) / (1 + error) - slack, Fraction(rough[pair]) * (1 + 2 * error) + slack
        assert max(low, Fraction(0)) ** 2 <= scaled <= high**2
        assert exact_square(checked, first, second) == exact[pair]
        total = (Fraction(doubled.high[pair]) + Fraction(doubled.low[pair])) * Fraction(4) ** int(
            doubled.exponent[pair]
        )
        if doubled.exact[pair]:
            assert total == scaled
        elif doubled.high[pair]:
            assert (
                abs(Fraction(doubled.high[pair]) * Fraction(4) ** int(doubled.exponent[pair]) - scaled) * 2**51
                <= scaled
            )
        else:
            assert scaled <= Fraction(UNDERFLOW) ** 2 * points.shape[1]
    for distance, square in zip(distances(checked, firsts, seconds), exact, strict=True):
        assert_distance(distance, square)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(point_sets(most_rows=12), st.data())
def test_order_and_threshold_are_exact(points, data):
    checked, exact = point_set(points), list(squares(points).values())
    firsts, seconds = all_pairs(points)
    assert exact_order(checked, firsts, seconds).tolist() == sorted(range(len(exact)), key=exact.__getitem__)
    threshold = data.draw(st.sampled_from(distances(checked, firsts, seconds).tolist()))
    assume(math.isfinite(threshold))
    answer = within(checked, firsts, seconds, threshold)
    assert answer.tolist() == [square <= Fraction(threshold) ** 2 for square in exact]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(60, 260), st.lists(st.integers(0, 3) | st.integers(400, 479), min_size=2, max_size=6))
def test_pairs_that_first_differ_far_below_are_put_in_order(size, steps):
    """Each pair differs by 2**-size in one coordinate, and by that times 2**-step in another."""
    rows = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]] * len(steps)
    for pair, step in enumerate(steps):
        rows[2 * pair + 1] = [1.0, 2.0**-size, 2.0 ** -(size + step)]
    points = np.array(rows)
    checked, firsts = point_set(points), np.arange(0, len(rows), 2)
    exact = [squares(points)[first, first + 1] for first in firsts.tolist()]
    assert exact_order(checked, firsts, firsts + 1).tolist() == sorted(range(len(exact)), key=exact.__getitem__)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 127), st.integers(0, 3), st.integers(1, 127)), min_size=2, max_size=5))
def test_no_difference_is_too_small_to_count(differences):
    """Each pair lies about 1 apart, and by so many of the least floats in one coordinate."""
    rows = []
    for first, least, second in differences:
        rows += [
            [first / 128, least * math.ulp(0.0), second / 128],
            [-first / 128, 0.0, -second / 128],
        ]
    points = np.array(rows)
    checked, firsts = point_set(points), np.arange(0, len(rows), 2)
    exact = [squares(points)[first, first + 1] for first in firsts.tolist()]
    assert exact_squares(checked, firsts, firsts + 1) == exact
    assert exact_order(checked, firsts, firsts + 1).tolist() == sorted(range(len(exact)), key=exact.__getitem__)


def test_most_float32_squares_are_exact_in_two_floats():
    points = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    assert doubled_squares(point_set(points), *all_pairs(points)).exact.all()


@given(st.fractions(min_value=0, max_value=10**6), st.integers(-2100, 2000))
def test_rounded_root_is_the_nearest_float(fraction, exponent):
    square = fraction * Fraction(2) ** exponent
    root = rounded_root(square)
    if math.isinf(root):
        assert square > Fraction(np.finfo(np.float64).max) ** 2
        return
    below, above = math.nextafter(root, -math.inf), math.nextafter(root, math.inf)
    if root > 0:
        assert ((Fraction(below) + Fraction(root)) / 2) ** 2 <= square
    if math.isfinite(above):
        assert square <= ((Fraction(above) + Fraction(root)) / 2) ** 2
