"""The closest pairs of very many states: those of all pairs, and no more of them measured than are paid for."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.enclosures.closest import MOST_MEASURED, Crowd
from proofs.errors import Unsupported
from proofs.recomputed.price_of_vocabulary import DIRECT, MEASURED, of_pairs

COUNT = 20
RADII = {
    "narrow": lambda random, states: np.full(states, 1e-9),
    "one wide": lambda random, states: np.where(np.arange(states) == 77, 1e3, 1e-9),
    "most wide": lambda random, states: np.where(np.arange(states) % 7 == 0, 1e-9, 1e3),
    "of all sizes": lambda random, states: 10.0 ** random.uniform(-9, 3, states),
}


def measured(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs are measured at a time, from now on."""
    counted: list[int] = []
    bounds = Crowd.bounds

    def counting(self: Crowd, first: Any, second: Any) -> Any:
        counted.append(len(first))
        return bounds(self, first, second)

    monkeypatch.setattr(Crowd, "bounds", counting)
    return counted


@given(
    st.integers(0, 2**32), st.sampled_from(sorted(RADII)), st.integers(2, 60), st.integers(1, 4), st.booleans(),
    st.integers(1, 30),
)  # fmt: skip
@settings(max_examples=60)
def test_the_pairs_found_are_the_closest_of_all(
    seed: int, radii: str, states: int, width: int, grid: bool, count: int
) -> None:
    random = np.random.default_rng(seed)
    mid = random.normal(size=(states, width))
    crowd = Crowd(np.rint(mid) if grid else mid, RADII[radii](random, states))
    found = crowd.closest(count)
    pairs = np.array(list(combinations(range(states), 2)))
    every = sorted(crowd.bounds(pairs[:, 0], pairs[:, 1]).tolist())
    assert [bound for bound, _, _ in found] == every[:count]


@pytest.mark.parametrize("radii", sorted(RADII))
def test_wide_states_let_no_other_pairs_through(radii: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random, states = np.random.default_rng(0), 1500
    crowd = Crowd(random.normal(size=(states, 8)), RADII[radii](random, states))
    counted = measured(crowd, monkeypatch)
    crowd.closest(COUNT)
    assert sum(counted) < math.comb(states, 2) / 20


@pytest.mark.parametrize("radius", [0.0, 1e-9, 1.0])
def test_no_more_pairs_are_measured_than_are_paid_for(radius: float, monkeypatch: pytest.MonkeyPatch) -> None:
    states = 1000
    crowd = Crowd(np.zeros((states, 8)), np.full(states, radius))
    counted = measured(crowd, monkeypatch)
    with pytest.raises(Unsupported, match="equally close"):
        crowd.closest(COUNT)
    assert MOST_MEASURED * 0.7 < sum(counted[1:]) <= MOST_MEASURED  # the first are those of a sample
    assert of_pairs(states, 8) > MOST_MEASURED * (DIRECT * 8 + MEASURED)


def test_a_cluster_of_close_states_is_told_apart() -> None:
    """More pairs than may be measured lie below what a sample shows; those measured first exclude the others."""
    random = np.random.default_rng(1)
    mid = random.normal(size=(3000, 4)) * 1e3
    mid[1000:1600] = 1e-3 * random.normal(size=(600, 4))
    found = Crowd(mid, np.full(len(mid), 1e-9)).closest(121)
    assert len(found) == 121 and all(1000 <= place < 1600 for _, *pair in found for place in pair)
