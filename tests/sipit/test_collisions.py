import numpy as np
import pytest

from sipit.collisions import search_layer, zero_hits_bound
from sipit.prefixes import prefixes


def test_findings_tell_equal_states_from_close_ones():
    prompts = prefixes([(1, 2, 3), (1, 4), (5,)])
    states = np.array([[0.0, 3.0], [4.0, 3.0], [4.0, 3.5], [4.0, 3.0], [9.0, 9.0]], dtype=np.float32)
    found = search_layer(states, prompts, layer=3, threshold=0.5, seed=0, count=2)
    assert found.bit_identical == ((1, 3),) and found.minimum_distance == 0
    assert [(pair.first, pair.second) for pair in found.below_threshold] == [(1, 3), (1, 2), (2, 3)]
    assert [(pair.distance, pair.first, pair.second) for pair in found.closest] == [(0.5, 1, 2), (4.0, 0, 1)]
    assert found.relative_minimum == pytest.approx(0.5 / np.hypot(4, 3.5))
    record = found.to_json()
    assert record["bit_identical"] == 1 and record["below_threshold"] == 3
    assert record["closest"] == [[1, 2], [0, 1]] and record["co_lipschitz"]["edit"] == 0


def test_all_states_equal_leave_no_closest_pair():
    found = search_layer(np.ones((3, 2)), prefixes([(1, 2, 3)]), layer=0, threshold=0.0, seed=0)
    assert found.closest == () and found.minimum_distance == 0 and len(found.below_threshold) == 3
    assert found.to_json()["co_lipschitz"]["hamming"] is None


def test_no_hits_bound_the_rate_only_for_independent_prompts():
    assert zero_hits_bound(100_000, independent=False) is None
    bound = zero_hits_bound(100_000, independent=True)
    assert bound == pytest.approx(3 / 50_000, rel=2e-3) and (1 - bound) ** 50_000 == pytest.approx(0.05)
