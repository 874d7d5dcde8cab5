"""Families of the library as people bring them, made small: each stands for a row of what once came back wrong."""

import transformers as tf
from transformers import AutoConfig

from numerics.networks.shrinking import small_copy
from tests.field.models import COMMON
from tests.sipit.folders import drawn, multimodal

LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + i for i in range(8)],
}
ENCODED = {
    "vocab_size": 512, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "max_position_embeddings": 128,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "is_decoder": True,
    "is_encoder_decoder": False,
}  # fmt: skip
_MINIMAX = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "block_size": 8}


def _of(config):
    return drawn(lambda: tf.AutoModelForCausalLM.from_config(config))


def _encoded(name, **fields):
    """The decoder alone of a family that has an encoder too."""
    config = getattr(tf, f"{name}Config")(**ENCODED | fields)
    return drawn(lambda: getattr(tf, f"{name}ForCausalLM")(config))


def _common(name, **fields):
    return _of(AutoConfig.for_model(name, **COMMON | fields))


def _small(name, **fields):
    return _of(small_copy(AutoConfig.for_model(name, **fields)))


def longrope(original):
    """Rotations that are others beyond a length."""
    config = tf.Phi3Config(
        **COMMON | {"max_position_embeddings": 256, "original_max_position_embeddings": original, "pad_token_id": 0},
        rope_parameters=LONG | {"original_max_position_embeddings": original},
    )
    return drawn(lambda: tf.Phi3ForCausalLM(config))


def dynamic():
    """Rotations that are others with every length beyond one."""
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    config = tf.LlamaConfig(**COMMON | {"max_position_embeddings": 24}, rope_parameters=rope)
    return drawn(lambda: tf.LlamaForCausalLM(config))


FAMILIES = {
    "roberta": lambda: _common("roberta", pad_token_id=1, is_decoder=True),
    "xlm-roberta": lambda: _common("xlm-roberta", pad_token_id=1, is_decoder=True),
    "mbart": lambda: _encoded("MBart"),
    "marian": lambda: _encoded("Marian"),
    "bart": lambda: _encoded("Bart"),
    "pegasus": lambda: _encoded("Pegasus"),
    "blenderbot": lambda: _encoded("Blenderbot"),
    "blenderbot-small": lambda: _encoded("BlenderbotSmall"),
    "mvp of one block": lambda: _encoded("Mvp", decoder_layers=1),
    "trocr of one block": lambda: drawn(lambda: tf.TrOCRForCausalLM(tf.TrOCRConfig(
        vocab_size=512, d_model=64, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=128,
        max_position_embeddings=128, pad_token_id=1))),
    "rwkv": lambda: drawn(lambda: tf.RwkvForCausalLM(tf.RwkvConfig(
        vocab_size=512, hidden_size=64, num_hidden_layers=4, context_length=128, rescale_every=2,
        attention_hidden_size=64))),
    "longrope": lambda: longrope(16),
    "dynamic": dynamic,
    "llama4": lambda: _common("llama4_text", intermediate_size_mlp=128, num_local_experts=2, attention_chunk_size=16,
                              head_dim=16, pad_token_id=0),
    "openai-gpt": lambda: _small("openai-gpt"),
    "qwen2-vl": lambda: multimodal("qwen2-vl"),
    "mllama": lambda: multimodal("mllama"),
    "falcon-h1": lambda: _small("falcon_h1"),
    "minimax": lambda: _common("minimax", layer_types=["linear_attention", "full_attention"], **_MINIMAX),
    "minimax turned": lambda: _common("minimax", layer_types=["full_attention", "linear_attention"], **_MINIMAX),
    "gemma4 with shared keys": lambda: _small(
        "gemma4_text", num_hidden_layers=4, num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2),
}  # fmt: skip
STREAMS = {"gemma3n": lambda: _small("gemma3n_text"), "deepseek-v4": lambda: _small("deepseek_v4")}
NO_EMBEDDING = {"rwkv"}  # whose `hidden_states` begin with the state behind the first block
