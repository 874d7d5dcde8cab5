"""Observations: the grammar, and for every family and site what is captured, against plain `transformers`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.errors import InvalidInput
from sipit.observations.observation import FROM_RESIDUAL, OF_BLOCK, OF_NETWORK, SEVERAL_LAYERS, SITES, Observation

BLOCKS = 4


@given(st.lists(st.sampled_from(SITES), min_size=1, max_size=3), st.lists(st.integers(-1, BLOCKS + 1), max_size=3))
def test_an_observation_is_the_same_from_its_words_and_its_entry_or_is_refused(
    sites: list[str], layers: list[int]
) -> None:
    once = len({*sites}) == len(sites) and len({*layers}) == len(layers)
    alone = len(sites) == 1 or "experts" not in sites
    fewer = len(layers) < 2 or {*sites} <= {*SEVERAL_LAYERS}
    none = not layers or not {*sites} <= {*OF_NETWORK}
    if not (once and alone and fewer and none):
        with pytest.raises(InvalidInput):
            Observation.of(",".join(sites), layers)
        return
    found = Observation.of(",".join(sites), layers)
    assert found == Observation.from_json(found.to_json())
    assert (found.sites, list(found.layers)) == (tuple(sites), layers)
    lows = [1 if site in OF_BLOCK and site != "residual" else 0 for site in sites]
    highs = [BLOCKS - 1 if site in FROM_RESIDUAL else BLOCKS for site in sites]
    if all(max(lows) <= layer <= min(highs) for layer in layers):
        inside = found.within(BLOCKS, "m")
        assert inside.layers == (tuple(layers) or (() if {*sites} <= {*OF_NETWORK} else (BLOCKS // 2,)))
    else:
        with pytest.raises(InvalidInput):
            found.within(BLOCKS, "m")


def test_keys_of_caches_differ_where_observations_do() -> None:
    named = [("residual", 1), ("residual", "final"), ("keys", 1), ("keys", [1, 2]), ("keys,values", 1),
             ("keys-unrotated", 1), ("logits", None), ("logprobs", None)]  # fmt: skip
    keys = [Observation.of(*words).key for words in named] + [Observation.of("logprobs", None, 5).key]
    assert len({*keys}) == len(keys)
    assert keys[0] == "1"  # what was kept for a layer stays kept


@pytest.mark.parametrize(
    "words",
    [("keys,keys", 1), ("key", 1), ("", 1), ("logits", 1), ("mid", [1, 2]), ("keys", "final"), ("keys", 0.5),
     ("residual", True), (3, 1), ("keys", 1, 5), ("logprobs", None, 0), ("experts,keys", 1)],
)  # fmt: skip
def test_what_is_no_observation_is_refused_with_the_way_out(words: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"Expected .* but got .*"):
        Observation.of(*words)
