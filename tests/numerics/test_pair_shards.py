"""Searches cut into shards give the identical pairs, with halos that stay small."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerics.pairs import shards as pair_shards
from numerics.pairs.search import closest_pairs, pairs_within
from numerics.pairs.shards import Here, closest_pairs_in_shards, pairs_within_in_shards, search_shard
from proofs import InvalidInput
from tests.numerics.point_sets import made, point_sets


class InAnyOrder:
    """Workers that take all shards at once, with the bound of the beginning, and answer in a random order."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def results(self, points, shards):
        shards = list(shards)
        self._random.shuffle(shards)
        return [search_shard(points, shard) for shard in shards]


workers = st.one_of(st.builds(Here), st.builds(InAnyOrder, st.integers(0, 9)))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(point_sets(), st.integers(1, 12), st.integers(1, 6), st.sampled_from([2, 5, 4096]), workers)
def test_shards_give_the_identical_closest_pairs(points, count, pieces, first_look, chosen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_shards, "FIRST_LOOK", first_look)
        found = closest_pairs_in_shards(points, count=count, pieces=pieces, workers=chosen)
    assert list(found) == list(closest_pairs(points, count=count, distinct=True))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(point_sets(), st.floats(0, 1), st.integers(1, 6), workers)
def test_shards_give_the_identical_pairs_within(points, share, pieces, chosen):
    every = closest_pairs(points, count=1000, distinct=True)
    threshold = every[int(share * (len(every) - 1))].distance if len(every) else 1.0
    threshold = min(threshold, 1e308)
    found = pairs_within_in_shards(points, threshold=threshold, pieces=pieces, workers=chosen)
    assert list(found) == list(pairs_within(points, threshold=threshold, distinct=True))


def test_halos_stay_small_where_the_bound_is_small():
    points = made("plain", 4000, 20, 0, np.float32)
    points[17] = points[3000] + np.float32(1e-3)
    seen = []

    class Counting:
        def results(self, points, shards):
            for shard in shards:
                seen.append(len(shard.rows))
                yield search_shard(points, shard)

    found = closest_pairs_in_shards(points, count=1, pieces=8, workers=Counting())
    assert (found[0].first, found[0].second) == (17, 3000)
    assert len(seen) == 8 and max(seen[1:]) < 4000


def test_bad_input_is_refused():
    points = np.eye(3)
    with pytest.raises(InvalidInput, match="piece"):
        closest_pairs_in_shards(points, count=1, pieces=0, workers=Here())
    with pytest.raises(InvalidInput, match="threshold"):
        pairs_within_in_shards(points, threshold=math.nan, pieces=1, workers=Here())
    with pytest.raises(InvalidInput, match="count"):
        closest_pairs_in_shards(points, count=0, pieces=1, workers=Here())
