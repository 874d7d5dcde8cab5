"""A small copy of an architecture: the same code path of the library; only widths, counts and the vocabulary shrink."""

from typing import Any

from numerics.networks.library import asked_of_a_class, unlogged
from proofs.errors import Unsupported

WIDTH = 32
# Small values under the names that configs use; only names that a config has are set, and none is made larger.
SMALL = {
    "hidden_size": WIDTH, "n_embd": WIDTH, "d_model": WIDTH, "embedding_size": WIDTH, "word_embed_proj_dim": WIDTH,
    "embedding_dim": WIDTH, "emb_dim": WIDTH, "lru_width": WIDTH,
    "intermediate_size": 24, "ffn_dim": 24, "n_inner": 24, "ffn_hidden_size": 24, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "intermediate_size_mlp": 24, "dense_intermediate_size": 24,
    "shared_intermediate_size": 16, "shared_experts_intermediate_size": 16, "moe_shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16, "decoder_ffn_dim": 24, "encoder_ffn_dim": 24, "feed_forward_size": 24, "dff": 24,
    "dim_ff": 24, "d_inner": 24, "ffn_round_up_to_multiple_of": 8,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "decoder_attention_heads": 4,
    "encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "num_encoder_attention_heads": 4,
    "num_key_value_heads": 2, "kv_n_heads": 2, "head_dim": 8, "d_head": 8, "dim_head": 8, "attention_head_size": 8,
    "attention_head_dim": 16, "kv_channels": 8, "num_query_groups": 4, "query_pre_attn_scalar": 8, "rotary_dim": 4,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "d_rel": 4, "rel_extent": 8,
    "kv_lora_rank": 8, "q_lora_rank": 8, "o_lora_rank": 8, "o_groups": 2, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "qk_head_dim": 16, "v_head_dim": 8,
    "index_n_heads": 4, "index_head_dim": 16, "indexer_n_heads": 4, "indexer_head_dim": 16,
    "linear_head_dim": 8, "linear_num_heads": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "mamba_num_heads": 8, "mamba_head_dim": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_headdim": 8,
    "mamba_d_state": 4, "mamba_d_ssm": 64, "mamba_dt_rank": 4, "mamba_chunk_size": 4, "ssm_state_size": 4,
    "state_size": 4, "time_step_rank": 4, "chunk_size": 4, "n_groups": 2,
    "sliding_window": 8, "sliding_window_size": 8, "window_size": 8, "attention_window_size": 8,
    "local_attention": 16,
    "conv_L_cache": 8, "conv_kernel": 8, "conv_kernel_size": 8, "linear_conv_kernel_dim": 8, "mamba_d_conv": 8,
    "short_conv_kernel_size": 8, "d_conv": 8, "conv1d_width": 8, "conv_size": 8,
    "attention_chunk_size": 8, "index_topk": 8, "indexer_budget": 8, "adapter_rank": 4, "router_hidden_size": 16,
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "zero_expert_num": 2,
    "num_experts_per_token": 2, "num_experts_per_tok": 2, "moe_topk": 2, "moe_k": 2, "moe_top_k": 2,
    "num_expert_group": 1, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "vocab_size": 64, "n_words": 64, "max_position_embeddings": 64, "n_positions": 64, "n_ctx": 64, "max_seq_len": 64,
    "vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8, "laurel_rank": 4, "hc_lowrank": 8,
    "hidden_size_global": WIDTH, "unpadded_vocab_size": 60,
    "ngram_vocab_size_base": 64, "split_ngram_parts": 1, "make_ngram_vocab_size_divisible_by": 8,
    "encoder_hash_byte_group_vocab": 64, "prompt_types": 4, "prompt_length": 4,
    "shape_vocab_size": 64, "shape_embed_dim": 8, "pronunciation_vocab_size": 64, "pronunciation_embed_dim": 8,
    "num_blocks": 2,
}  # fmt: skip
# What counts blocks; as many are kept as show every kind of block.
COUNTS = (
    "num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers",
    "num_decoder_layers", "num_encoder_layers",
)  # fmt: skip
# Names of heads, their size, and how many times as wide as the states all of them are: no other number of heads fits.
EXPANDED = (("num_heads", "head_dim", "expand"), ("mamba_n_heads", "mamba_d_head", "mamba_expand"))
# Sizes that have to fit one another in the way of a single class.
OWN: dict[str, dict[str, Any]] = {
    "dory": {
        "num_hidden_layers": 8, "n_input_layers": 2, "n_recurrent_layers": 4, "n_output_layers": 2,
        "layer_types": ["sliding_attention", "mlp"] * 3 + ["full_attention", "mlp"],
    },
    "hrm_text": {"num_layers_per_stack": 2, "num_hidden_layers": 16},
    "mllama_text_model": {"num_hidden_layers": 5},  # the fourth is the first that a text passes by
    "reformer": {"axial_pos_shape": [8, 8], "axial_pos_embds_dim": [8, 24]},
    "zamba": {  # blocks that share their weights: more than one
        "num_hidden_layers": 8,
        "layers_block_type": ["linear_attention"] * 2 + ["hybrid"] + ["linear_attention"] * 4 + ["hybrid"],
    },
}  # fmt: skip


def small_copy(config: Any, *, times: int = 1) -> Any:
    """A config of the same class with small sizes and few blocks; its options are as they were.

    Of one that also sees or hears, it is the text part (`numerics.networks.text_class.new_text_model` builds a model
    of it).

    Args:
        config: of a decoder.
        times: as many blocks as show every kind of block, so many times, as far as the config has them.

    Raises:
        Unsupported: the class refuses these sizes.
    """
    try:
        text = config.get_text_config()
    except ValueError:
        raise Unsupported(
            f"Expected a config of one text model, but {config.model_type!r} has several; give one of them."
        ) from None
    data = text.to_dict()
    changed = _shrunk(data)
    count = getattr(text, "num_hidden_layers", None)
    per_layer = {name: value for name, value in data.items() if isinstance(value, list) and len(value) == count}
    kinds = [*per_layer.values(), getattr(text, "layer_types", None) or []]
    blocks = times * max(2, *map(_shortest_prefix, kinds))
    shared = data.get("num_kv_shared_layers") or 0
    if shared == count:  # with another model, as an assistant does
        changed["num_kv_shared_layers"] = blocks
    elif shared:  # the last ones share what the last of each kind before them has
        shared = min(blocks, shared)
        changed["num_kv_shared_layers"], blocks = shared, blocks + shared
    blocks = min(blocks, count) if isinstance(count, int) else blocks
    changed |= {name: min(data[name], blocks) for name in COUNTS if isinstance(data.get(name), int)}
    changed |= {name: (changed.get(name, value) * 2)[:blocks] for name, value in per_layer.items()}
    if isinstance(data.get("per_layer_config"), dict):
        kept = {number: own for number, own in data["per_layer_config"].items() if int(number) < blocks}
        changed["per_layer_config"] = {number: {**own, **_shrunk(own)} for number, own in kept.items()}
    expected = f"Expected small sizes that {text.model_type!r} accepts, but it refuses"
    with asked_of_a_class(Unsupported, expected, "give a config of another class"), unlogged():
        return type(text).from_dict({**data, **changed, **OWN.get(text.model_type, {})})


def _shrunk(data: dict[str, Any]) -> dict[str, Any]:
    """Small sizes for the names that are there, equal where they were equal, in the configs of parts as well."""
    changed: dict[str, Any] = {name: _at_most(data[name], size) for name, size in SMALL.items() if name in data}
    # Special tokens have to lie in the small vocabulary.
    changed |= {name: _at_most(data[name], 0) for name in data if name.endswith("_token_id")}
    if isinstance(data.get("attention_hidden_size"), int):
        changed["attention_hidden_size"] = WIDTH * max(1, data["attention_hidden_size"] // data["hidden_size"])
    if data.get("num_key_value_heads") == data.get("num_attention_heads") is not None:
        changed["num_key_value_heads"] = changed["num_attention_heads"]
    if data.get("linear_num_key_heads") == data.get("linear_num_value_heads") is not None:
        changed["linear_num_key_heads"] = changed["linear_num_value_heads"]
    if "qk_rope_head_dim" in changed and data.get("head_dim") not in (None, data["qk_rope_head_dim"]):
        changed["head_dim"] = changed["qk_rope_head_dim"] + changed.get("qk_nope_head_dim", 0)
    for heads, size, times in EXPANDED:
        if {heads, size, times, "hidden_size"} <= data.keys():
            changed[heads] = max(1, int(changed["hidden_size"] * data[times]) // changed[size])
    for name, part in data.items():
        if isinstance(part, dict) and "model_type" in part:
            counts = {count: 2 for count in COUNTS if isinstance(part.get(count), int)}
            changed[name] = {**part, **_shrunk(part), **counts}
    return changed


def _at_most(value: Any, size: int) -> Any:
    """The value, or the size where that is smaller; in lists entry by entry, and what is no number stays."""
    if isinstance(value, list):
        return [_at_most(one, size) for one in value]
    return min(value, size) if type(value) is int else value


def _shortest_prefix(kinds: list[Any]) -> int:
    """How many blocks show every kind of block."""
    return max(kinds.index(kind) for kind in set(map(str, kinds))) + 1 if kinds and isinstance(kinds[0], str) else 2
