"""The closest pair, and the k closest, are those of a comparison of all pairs in exact arithmetic."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerics.pairs import product as pair_product
from numerics.pairs import search as module
from numerics.pairs.search import Method, Pair, closest_pair, closest_pairs
from proofs import InvalidInput
from tests.numerics.point_sets import KINDS, assert_distance, made, point_sets, ranked, small_parts, squares

METHODS = get_args(Method)
LARGER = {("tiny", np.float16), ("clusters", np.float32), ("offset", np.float64)}  # the rest of them is slow
SEARCHES = [method for method in METHODS if method != "auto"]


def assert_closest(found, points, count):
    expected = ranked(points)[:count]
    assert [(pair.first, pair.second) for pair in found] == [entry[1:] for entry in expected]
    for pair, (square, _, _) in zip(found, expected, strict=True):
        assert_distance(pair.distance, square)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(point_sets(), st.sampled_from(METHODS))
def test_closest_pair_is_the_exact_one(points, method):
    assert_closest([closest_pair(points, method=method)], points, 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(point_sets(most_rows=20), st.integers(1, 40), st.sampled_from(METHODS))
def test_k_closest_pairs_are_the_exact_ones(points, count, method):
    with small_parts():
        assert_closest(closest_pairs(points, count=count, method=method), points, count)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(3, 7), st.integers(0, 300), st.floats(0, 1), st.integers(0, 99))
def test_many_closest_pairs_are_the_exact_ones_however_far_a_cluster_lies(rows, exponent, share, seed):
    """The first pairs of a search meet no bound, and blocks may lie very many of their own radii from each other."""
    rng = np.random.default_rng(seed)
    near = np.ldexp(rng.standard_normal((rows, 2)), -exponent)
    far = 1 + np.ldexp(np.arange(2.0 * rows).reshape(rows, 2), -50)
    points = np.concatenate((near, far))
    count = 1 + round(share * (len(points) * (len(points) - 1) // 2 - 1))
    with small_parts():
        for method in METHODS:
            assert_closest(closest_pairs(points, count=count, method=method), points, count)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(point_sets(most_rows=16), st.integers(1, 20))
def test_distinct_rows_are_spoken_for_by_the_first_of_their_class(points, count):
    values = [tuple(row) for row in (points + 0.0).tolist()]
    firsts = [row for row, value in enumerate(values) if values.index(value) == row]
    expected = [entry for entry in ranked(points) if {*entry[1:]} <= {*firsts}][:count]
    found = closest_pairs(points, count=count, distinct=True)
    assert [(pair.first, pair.second) for pair in found] == [entry[1:] for entry in expected]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(point_sets(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_change_the_distance(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    moved = closest_pair(points[order])
    assert moved.distance == closest_pair(points).distance
    assert squares(points)[tuple(sorted((order[moved.first], order[moved.second])))] == ranked(points)[0][0]


@pytest.mark.parametrize(("kind", "dtype"), [
    pytest.param(kind, dtype, marks=() if (kind, dtype) in LARGER else pytest.mark.slow)
    for kind in KINDS for dtype in (np.float16, np.float32, np.float64)
    if kind != "wide"  # too many pairs below 2**-1000 there
])  # fmt: skip
def test_searches_agree_on_larger_sets(kind, dtype):
    points = made(kind, 3000, 50, 7, dtype)
    with small_blocks():
        answers = [list(closest_pairs(points, count=25, distinct=True, method=method)) for method in METHODS]
    assert all(answer == answers[0] for answer in answers)


@contextmanager
def small_blocks():
    block, pair_product.BLOCK = pair_product.BLOCK, 512
    try:
        yield
    finally:
        pair_product.BLOCK = block


@pytest.mark.parametrize("exponent", range(1, 13))
def test_planted_pairs_are_found_at_their_true_distance(exponent):
    rng = np.random.default_rng(exponent)
    points = 50 + rng.standard_normal((2000, 96))
    direction = rng.standard_normal(96)
    norm = np.linalg.norm(points[11])
    points[1234] = points[11] + 10.0**-exponent * norm * direction / np.linalg.norm(direction)
    for method in METHODS:
        pair = closest_pairs(points, count=1, method=method)[0]
        expected = squares(points[[11, 1234]])[0, 1]
        if exponent > 1:
            assert (pair.first, pair.second) == (11, 1234)
            assert_distance(pair.distance, expected)


def test_auto_takes_the_search_that_fits(monkeypatch):
    taken = []
    for name in ("join", "search_tree", "search_products"):
        search = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, name=name, search=search: (taken.append(name), search(*given)))
    rng = np.random.default_rng(0)
    closest_pair(rng.standard_normal((3000, 200)).astype(np.float32))
    closest_pair(rng.standard_normal((4000, 8)) @ rng.standard_normal((8, 64)))
    points = rng.standard_normal((3000, 64))
    points[5] = points[6] + 1e-9
    closest_pair(points)
    assert taken == ["search_products", "search_tree", "join"]


@pytest.mark.parametrize("method", SEARCHES)
def test_equidistant_points_give_the_first_pair(method):
    points = np.eye(300, dtype=np.float32)
    assert closest_pair(points, method=method) == Pair(np.sqrt(2), 0, 1)
    found = closest_pairs(points, count=400, method=method)
    first_of_all = [(0, other) for other in range(1, 300)] + [(1, other) for other in range(2, 103)]
    assert [(pair.first, pair.second) for pair in found] == first_of_all


def test_distance_beyond_the_largest_float_is_infinite():
    largest = np.finfo(np.float64).max
    assert closest_pair(np.array([[largest, largest], [-largest, -largest]])) == Pair(np.inf, 0, 1)


@pytest.mark.parametrize("layout", ["memmap", "fortran", "strided", "big-endian", "read-only", "list"])
def test_any_layout_of_the_same_numbers_gives_the_same_answer(layout, tmp_path):
    points = made("plain", 200, 30, 3, np.float32)
    expected = closest_pair(points)
    if layout == "memmap":
        given_points = np.memmap(tmp_path / "points", dtype=np.float32, mode="w+", shape=points.shape)
        given_points[:] = points
        given_points = np.memmap(tmp_path / "points", dtype=np.float32, mode="r", shape=points.shape)
    elif layout == "fortran":
        given_points = np.asfortranarray(points)
    elif layout == "strided":
        given_points = np.repeat(points, 2, axis=1)[:, ::2]
    elif layout == "big-endian":
        given_points = points.astype(">f4")
    elif layout == "read-only":
        given_points = points.copy()
        given_points.flags.writeable = False
    else:
        given_points = points.astype(np.float64).tolist()
    assert closest_pair(given_points) == expected


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.zeros((0, 3)), "shape=(0, 3)"),
        (np.zeros((1, 3)), "shape=(1, 3)"),
        (np.zeros((3, 0)), "shape=(3, 0)"),
        (np.zeros(3), "shape=(3,)"),
        (np.zeros((2, 3, 4)), "shape=(2, 3, 4)"),
        (np.zeros((2, 3), dtype=np.int64), "dtype=int64"),
        (np.zeros((2, 3), dtype=complex), "dtype=complex128"),
        (np.zeros((2, 3), dtype=np.longdouble), f"dtype={np.dtype(np.longdouble)}"),
        ([[1.0], [1.0, 2.0]], "list"),
        (np.array([[0.0], [1.0], [np.nan]]), "row 2"),
        (np.array([[0.0], [-np.inf], [1.0]], dtype=np.float16), "row 1"),
    ],
)
def test_what_is_no_set_of_points_is_refused_in_one_sentence(points, words):
    with pytest.raises(InvalidInput) as caught:
        closest_pair(points)
    assert words in str(caught.value)
    assert str(caught.value).startswith("Expected ") and str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_count_and_method_are_checked():
    points = np.eye(3)
    with pytest.raises(InvalidInput, match="count, but got 0"):
        closest_pairs(points, count=0)
    with pytest.raises(InvalidInput, match=r"method .* got 'quick'"):
        closest_pair(points, method="quick")  # type: ignore[arg-type]


def test_no_global_state_is_changed():
    points = made("plain", 3000, 40, 0, np.float32)
    before = points.copy()
    np.random.seed(5)
    state, errors, threads = np.random.get_state(), np.geterr(), threading.active_count()
    environment = dict(os.environ)
    for method in METHODS:
        closest_pair(points, method=method)
    assert np.array_equal(points, before) and points.flags.writeable
    assert np.geterr() == errors and threading.active_count() == threads and dict(os.environ) == environment
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))


def test_searches_run_side_by_side():
    points = made("plain", 2000, 40, 0, np.float32)
    found = []
    threads = [threading.Thread(target=lambda: found.append(closest_pair(points, method="tree"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [closest_pair(points, method="product")] * 4


def test_importing_numerics_compiles_nothing():
    code = "import sys, numerics; assert 'numba' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
