"""Where architectures stand in the classification: each once, under a heading, where its conditions hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from proofs.theorems.architectures import BY_TYPE, NONE, PAGE, PLACES, RUNS, STATES, WINDOWS, placement
from proofs.theorems.conditions import SETTING, Network, windows, words_of

TEXT = (Path(__file__).parents[2] / PAGE).read_text()
# What a configuration names, by the condition that does not hold of it: one condition more needs one line more.
BROKEN: Mapping[str, tuple[str, dict[str, Any]]] = {
    "one_block": ("llama", {"num_hidden_layers": 0}),
    "two_blocks": ("bloom", {"num_hidden_layers": 1}),
    "wide": ("opt", {"word_embed_proj_dim": 3}),
    "normed": ("opt", {"layer_norm_elementwise_affine": False}),
    "unclipped": ("mpt", {"attn_config": {"clip_qkv": 8.0}}),
    "unmuted": ("falcon_h1", {"ssm_multipliers": [1.0, 1.0, 0.0, 1.0, 1.0]}),
    "residual_before_norms": ("bloom", {"apply_residual_connection_post_layernorm": True}),
    "without_bias": ("falcon", {"alibi": True}),
    "rotated": ("phi", {"partial_rotary_factor": 0.0}),
    "full_attention": ("qwen3", {"num_hidden_layers": 2, "layer_types": ["sliding_attention"] * 2,
                                 "use_sliding_window": True}),
    "full_layers_enough": ("cohere2", {"num_hidden_layers": 4}),
    "state_space": ("granitemoehybrid", {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}),
    "two_channels": ("nemotron_h", {"mamba_num_heads": 1, "mamba_head_dim": 1}),
    "time_passes": ("mamba2", {"time_step_limit": [0.0, 0.0]}),
}  # fmt: skip


def network(name: str, blocks: int | None = None, **changes: Any) -> Network:
    config = AutoConfig.for_model(name, **changes)
    return Network(config, config.num_hidden_layers if blocks is None else blocks)


def test_every_placement_names_a_heading_of_the_page() -> None:
    for place in (*PLACES, WINDOWS):
        assert f"\n## {place.by.partition(' (')[0]}\n" in TEXT
        assert place.to_json("anywhere")["checked"] is False


def test_every_architecture_stands_in_one_place() -> None:
    assert sum(map(len, PLACES.values())) == len(BY_TYPE)


def test_every_condition_has_a_configuration_that_does_not_meet_it() -> None:
    conditions = {one for place in (*PLACES, WINDOWS) for one in (*SETTING, *place.conditions)} - {windows}
    assert {one.__name__ for one in conditions} == set(BROKEN)
    assert windows(network("llama")) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_condition_that_does_not_hold_leaves_nothing_said(name: str) -> None:
    kind, changes = BROKEN[name]
    place = placement(kind)
    assert place is not None
    (condition,) = (one for one in (*SETTING, *place.conditions) if one.__name__ == name)
    assert condition(network(kind, **changes)) is place.within(network(kind, **changes)) is None


@pytest.mark.parametrize("name", BY_TYPE)
def test_as_published_the_conditions_hold_and_say_so(name: str) -> None:
    place, published = placement(name), network(name, **({"sliding_window": None} if name == "mistral" else {}))
    assert place is not None
    within = place.within(published)
    assert within is not None
    assert all(words in within for one in (*SETTING, *place.conditions) if (words := one(published)))
    assert place.within(Network(published.config, 0)) is None  # the embedding alone


@pytest.mark.parametrize(
    ("name", "blocks", "changes", "said"),
    [
        ("cohere2", 11, {}, None),  # the third full layer is the twelfth
        ("cohere2", 12, {}, "three full layers"),
        ("cohere2", 4, {"no_rope_layers": [1, 1, 1, 1]}, None),  # its class does not look at that
        ("llama4_text", 11, {}, None),
        ("llama4_text", 12, {"floor_scale": 24}, "fewer than 24 tokens"),
        ("llama4_text", 12, {"floor_scale": 1}, None),
        ("llama4_text", 12, {"attn_temperature_tuning": False}, "three full layers"),
        ("smollm3", 1, {}, "rotary"),
        ("smollm3", 3, {"no_rope_layers": [0] * 36}, "three full layers"),
        ("smollm3", 2, {"no_rope_layers": [0] * 36}, None),
        ("gpt_oss", 1, {}, None),  # its first layer has a window
        ("gpt_oss", 2, {}, "full attention"),
        ("gemma3_text", 5, {}, None),
        ("jamba", 1, {}, "state-space"),
        ("gpt_neo", 2, {"attention_types": [[["local", "local", "global"], 8]]}, None),
        ("granite", None, {"residual_multiplier": 0.0}, None),
        ("mpt", None, {"attn_config": {"softmax_scale": 0.0}}, None),
        ("llama", None, {"rms_norm_eps": 0.0}, None),
        ("llama", None, {"hidden_size": 2, "num_attention_heads": 1}, None),
    ],
    ids=str,
)  # fmt: skip
def test_conditions_are_asked_of_the_blocks_behind_the_state(
    name: str, blocks: int | None, changes: dict[str, Any], said: str | None
) -> None:
    place = placement(name)
    assert place is not None
    within = place.within(network(name, blocks, **changes))
    assert within is None if said is None else said in (within or "")


@pytest.mark.parametrize("name", ["llama", "falcon"])
def test_windows_are_no_rotary_positions(name: str) -> None:
    assert placement(name) is not WINDOWS
    assert placement(name, windows_everywhere=True) is WINDOWS
    config = AutoConfig.for_model(name)
    assert words_of((windows,), Network(config, 2, windows_everywhere=True)) is not None


@pytest.mark.parametrize("name", BY_TYPE)
def test_with_windows_in_every_layer_no_placement_excludes_prompts_that_agree_within_reach(name: str) -> None:
    """A state-space layer would see them: every proof but one uses a layer that sees the whole prompt."""
    place = placement(name, windows_everywhere=True)
    assert place is None or place.agrees({"repeated tokens", "window reach"})


def test_a_placement_agrees_with_what_was_shown_alone() -> None:
    places = {place.without_bos: place for place in PLACES}
    assert places[NONE].agrees(()) and not places[NONE].agrees({"repeated tokens"})
    assert places[RUNS].agrees({"repeated tokens"})
    assert not places[RUNS].agrees(()) and not places[RUNS].agrees({"repeated tokens", "permuted prefixes"})


def test_of_others_nothing_is_said() -> None:
    assert placement("rwkv") is None
    assert placement("mamba") is STATES
