"""The numbers in a GGUF file are those of the model that the library makes of it, or the file is refused."""

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from sipit.models.gguf_settings import otherwise

# By architecture: the class of its configuration, and what llama.cpp writes of a model that has its defaults.
SAID = {
    "llama": ("Llama", {"layer_norm_rms_epsilon": 1e-6, "head_count": 32, "head_count_kv": 32, "key_length": 128}),
    "qwen3": ("Qwen3", {"layer_norm_rms_epsilon": 1e-6, "head_count": 32, "head_count_kv": 32, "value_length": 128}),
    "gemma2": ("Gemma2", {"layer_norm_rms_epsilon": 1e-6, "head_count": 8, "head_count_kv": 4, "sliding_window": 4096,
                          ".attn_logit_softcapping": 50.0, ".final_logit_softcapping": 30.0}),
    "gemma3": ("Gemma3Text", {"layer_norm_rms_epsilon": 1e-6, "head_count": 8, "sliding_window": 4096}),
    "phi3": ("Phi3", {"layer_norm_rms_epsilon": 1e-5, "head_count": 32, "sliding_window": 0}),
    "falcon": ("Falcon", {"layer_norm_epsilon": 1e-5, "head_count": 71, "head_count_kv": 1}),
    "bloom": ("Bloom", {"layer_norm_epsilon": 1e-5, "head_count": 8, "head_count_kv": 8}),
    "gpt2": ("GPT2", {"layer_norm_epsilon": 1e-5, "head_count": 12}),
    "stablelm": ("StableLm", {"layer_norm_epsilon": 1e-5, "head_count": 32, ".use_parallel_residual": False}),
    "starcoder2": ("Starcoder2", {"layer_norm_epsilon": 1e-5, "head_count": 24, "head_count_kv": 2}),
    "nemotron": ("Nemotron", {"layer_norm_epsilon": 1e-5, "head_count": 48, "head_count_kv": 48}),
    "mamba": ("Mamba", {"layer_norm_rms_epsilon": 1e-5, "head_count": 0, ".ssm.conv_kernel": 4, ".ssm.state_size": 16,
                        ".ssm.inner_size": 1536, ".ssm.time_step_rank": 48, ".ssm.dt_b_c_rms": False}),
    "qwen3moe": ("Qwen3Moe", {"head_count": 32, "head_count_kv": 4, ".expert_used_count": 8, ".expert_count": 128}),
    "lfm2": ("Lfm2", {"layer_norm_rms_epsilon": 1e-5, "head_count_kv": [0, 0, 8], ".shortconv.l_cache": 3}),
    "gpt-oss": ("GptOss", {"layer_norm_rms_epsilon": 1e-5, "sliding_window": 128, ".expert_used_count": 4}),
}  # fmt: skip
SIZES = ("key_length", "value_length", ".final_logit_softcapping", ".expert_count")  # held elsewhere, or of the head


def written(said):
    return {key.removeprefix(".") if key[0] == "." else f"attention.{key}": value for key, value in said.items()}


def default(architecture):
    return getattr(transformers, f"{SAID[architecture][0]}Config")()


@pytest.mark.parametrize("architecture", SAID)
def test_what_is_written_of_a_model_is_what_it_has_and_nothing_else(architecture):
    about, config = written(SAID[architecture][1]), default(architecture)
    assert otherwise(architecture, about | {"context_length": 512, "rope.freq_base": 1.0}, config) == []
    for key, value in SAID[architecture][1].items():
        if key not in SIZES:
            (name,) = written({key: value})
            other = 3 * (value[-1] if isinstance(value, list) else value) + 1
            assert otherwise(architecture, about | {name: other}, config) == [f"{architecture}.{name} = {other}"]


@given(st.text("abc._", min_size=1, max_size=8), st.sampled_from([0, 1, 0.5, False, True, "", []]))
def test_a_number_that_nobody_knows_is_not_taken(name, value):
    assert otherwise("llama", {name: value}, default("llama")) == [f"llama.{name} = {value}"]


def test_what_the_class_does_not_know_is_not_what_it_has():
    """The library keeps such an entry in the configuration, under a name that Falcon's class never reads."""
    config = transformers.FalconConfig(rms_norm_eps=1e-3)
    assert otherwise("falcon", {"attention.layer_norm_rms_epsilon": 1e-3}, config)


@pytest.mark.parametrize(("architecture", "blocks"), [("gemma2", 46), ("gemma3", 62)])
def test_the_scale_of_scores_is_what_llama_cpp_computes(architecture, blocks):
    kind = type(default(architecture))
    sizes = {"hidden_size": 4608, "num_attention_heads": 32, "head_dim": 128}
    for layers, scale in ((blocks, 144), (2, 128)):
        for given_scale in (128, 144, 256):
            config = kind(num_hidden_layers=layers, query_pre_attn_scalar=given_scale, **sizes)
            assert (otherwise(architecture, {}, config) == []) == (given_scale == scale)


@pytest.mark.parametrize("pattern", [6, [True] * 5 + [False] + [True] * 5 + [False]])
def test_which_blocks_have_a_window_is_held_too(pattern):
    for layers, fits in ((12, True), (13, isinstance(pattern, int))):
        config = transformers.Gemma3TextConfig(num_hidden_layers=layers)
        assert (otherwise("gemma3", {"attention.sliding_window_pattern": pattern}, config) == []) == fits
    assert otherwise("gemma3", {"attention.sliding_window_pattern": 4}, config)


def test_a_window_is_none_where_no_prompt_is_longer():
    config = transformers.Phi3Config(max_position_embeddings=4096, sliding_window=None)
    assert otherwise("phi3", {"attention.sliding_window": 4096}, config) == []
    assert otherwise("phi3", {"attention.sliding_window": 2047}, config)
