"""Whether a model has what the numbers in a GGUF file say: the library reads some, and takes its class's for the rest.

What has no name here is not known, and is not taken. The scale of Gemma's scores stands in no file: llama.cpp computes
it (`llama-model.cpp`), and whoever loads the file has to do so too.
"""

import math
from collections.abc import Collection, Iterable
from typing import Any

# Sizes, which the shapes of tensors are held against, and what no state depends on.
_ELSEWHERE = frozenset({
    "context_length", "block_count", "embedding_length", "feed_forward_length", "vocab_size", "expert_count",
    "expert_feed_forward_length", "expert_shared_feed_forward_length", "final_logit_softcapping",
    "attention.key_length", "attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
})  # fmt: skip
_EPSILON = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps", "norm_epsilon")
# What configurations call it, whichever of these a class has; a class that has none has none of it.
_CALLED: dict[str, tuple[str, ...]] = {
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads", "num_attention_heads"),
    "attention.layer_norm_epsilon": _EPSILON,
    "attention.layer_norm_rms_epsilon": _EPSILON,
    "attention.sliding_window": ("sliding_window",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "shortconv.l_cache": ("conv_L_cache",),
    "ssm.conv_kernel": ("conv_kernel",),
    "ssm.dt_b_c_rms": (),
    "ssm.inner_size": ("intermediate_size",),
    "ssm.state_size": ("state_size",),
    "ssm.time_step_rank": ("time_step_rank",),
    "use_parallel_residual": ("use_parallel_residual",),
}
_SOFTMAX, _SIGMOID = 1, 2  # how experts are weighed, by llama.cpp's number; the first but in one class
_SCALED = {"gemma2": 46, "gemma3": 62}  # blocks of the largest of each, whose scores are divided by another root
_EXACT = 1e-5  # relative: such numbers are stored in float32


def otherwise(named: str, about: dict[str, Any], config: Any) -> list[str]:
    """The entries of the metadata that a configuration does not have, as words.

    Args:
        named: the architecture.
        about: its entries in the metadata, without its name in front; those of rotations are looked at elsewhere.
        config: of the text decoder that the library made.
    """
    # An entry that the class does not know is kept by a configuration too, and read by nobody.
    own = type(config)().to_dict().keys() | config.attribute_map.keys()
    wrong = [f"{named}.{key} = {value}" for key, value in about.items() if not _has(config, own, key, value)]
    if named in _SCALED:
        wide = config.head_dim
        if config.num_hidden_layers == _SCALED[named]:
            wide = config.hidden_size / config.num_attention_heads
        if not _equal(wide, config.query_pre_attn_scalar):
            wrong.append(f"the scale of scores, 1 / sqrt({wide:g}),")
    return wrong


def _has(config: Any, own: Collection[str], key: str, value: Any) -> bool:
    if key in _ELSEWHERE or key.startswith("rope."):
        return True
    if key == "attention.causal":
        return value is True
    if key == "attention.sliding_window_pattern":
        kinds = getattr(config, "layer_types", None) or ()
        return _windows(value, config) == [kind == "sliding_attention" for kind in kinds]
    if key == "expert_gating_func":
        return value == (_SIGMOID if config.model_type == "minimax_m2" else _SOFTMAX)
    if key not in _CALLED:
        return False
    held = [getattr(config, name) for name in _CALLED[key] if name in own]
    if key == "attention.sliding_window" and not any(held):
        return value == 0 or value >= config.max_position_embeddings  # no window, or one that is never left
    if key == "attention.head_count_kv" and getattr(config, "multi_query", False):
        held.append(1)
    if key == "attention.head_count_kv" and isinstance(value, list):  # by block, and 0 where it has no attention
        return all(one == 0 or any(_equal(one, other) for other in held) for one in value)
    return any(_equal(value, other) for other in held) if held else not value


def _windows(value: Any, config: Any) -> list[bool]:
    """Which blocks have a window: block by block, or all but every n-th."""
    if isinstance(value, Iterable):
        return [bool(one) for one in value]
    return [(block + 1) % value != 0 for block in range(config.num_hidden_layers)] if value else []


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_EXACT)
    return one == other or (not one and other is None)
