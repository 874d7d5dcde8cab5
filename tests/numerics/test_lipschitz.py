"""Co-Lipschitz constants are the least ratios over all pairs, and a sample bounds them from above."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerics.pairs import lipschitz as module
from numerics.pairs.lipschitz import co_lipschitz
from proofs import InvalidInput

PROMPTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=2, max_size=12, unique=True)


def edits(first, second):
    @cache
    def rest(i, j):
        if i == len(first) or j == len(second):
            return len(first) - i + len(second) - j
        return min(rest(i + 1, j) + 1, rest(i, j + 1) + 1, rest(i + 1, j + 1) + (first[i] != second[j]))

    return rest(0, 0)


def plain(points, prompts, pairs):
    ratio, same = [np.inf], [np.inf]
    for i, j in pairs:
        distance = np.linalg.norm(points[i] - points[j])
        ratio.append(distance / edits(prompts[i], prompts[j]))
        if len(prompts[i]) == len(prompts[j]):
            same.append(distance / sum(a != b for a, b in zip(prompts[i], prompts[j], strict=True)))
    return min(ratio), min(same)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PROMPTS, st.integers(0, 1000))
def test_constants_are_the_least_ratios_over_all_pairs(prompts, seed):
    points = np.random.default_rng(seed).standard_normal((len(prompts), 5)) * 1e3
    found = co_lipschitz(points, prompts, seed=0)
    expected = plain(points, prompts, combinations(range(len(prompts)), 2))
    assert (found.edit, found.hamming) == pytest.approx(expected, rel=1e-12)
    assert found.exact and found.pairs == len(prompts) * (len(prompts) - 1) // 2


def test_a_sample_gives_an_upper_bound_that_close_pairs_improve(monkeypatch):
    rng = np.random.default_rng(0)
    prompts = [(n // 8, n % 8, n % 3) for n in range(64)]
    points = rng.standard_normal((64, 4))
    whole = co_lipschitz(points, prompts, seed=0)
    monkeypatch.setattr(module, "LARGEST_SAMPLE", 10)
    sampled = co_lipschitz(points, prompts, seed=1)
    assert not sampled.exact and sampled.edit >= whole.edit and sampled.pairs == 45
    assert sampled == co_lipschitz(points, prompts, seed=1)
    every = co_lipschitz(points, prompts, seed=1, close=list(combinations(range(64), 2)))
    assert (every.edit, every.hamming) == (whole.edit, whole.hamming)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(PROMPTS, st.data())
def test_a_pair_is_counted_once_however_often_and_in_whichever_order_it_is_given(prompts, data):
    every = list(combinations(range(len(prompts)), 2))
    close = data.draw(st.lists(st.sampled_from([*every, *((second, first) for first, second in every)]), max_size=8))
    points = np.random.default_rng(0).standard_normal((len(prompts), 3))
    assert co_lipschitz(points, prompts, seed=0, close=close) == co_lipschitz(points, prompts, seed=0)


def test_equal_prompts_and_missing_ones_are_refused():
    with pytest.raises(InvalidInput, match="two are equal"):
        co_lipschitz(np.eye(2), [(1, 2), (1, 2)], seed=0)
    with pytest.raises(InvalidInput, match="each of 2 rows"):
        co_lipschitz(np.eye(2), [(1,)], seed=0)
