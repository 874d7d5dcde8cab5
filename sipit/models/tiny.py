"""`tiny-<family>`: the family's own `transformers` class with a small config and every parameter drawn from a density.

Theorem 2.2 (arXiv 2510.15511) speaks about parameters drawn from an absolutely continuous law. The library's own
initialisation is none (gains 1, biases 0, a zero padding row), so Gaussian noise is added to every parameter.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from numerics.networks.text_class import new_text_model
from proofs.threads import turn

HIDDEN, LAYERS, VOCABULARY, BOS = 64, 2, 512, 256
_SPREAD = 0.1  # standard deviation of the noise; attention scores then differ by about one

# Shapes under the names that most families share; a family lists what it calls otherwise.
_SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
_GATED = _SHAPE | {"intermediate_size": 128, "num_key_value_heads": 2}


@dataclass(frozen=True, slots=True)
class Family:
    """A `transformers` model type, its small configuration, and whether its tokenizer puts a BOS in front."""

    model_type: str
    config: dict[str, Any] = field(default_factory=lambda: dict(_GATED))
    bos: bool = False


FAMILIES = {
    "gpt2": Family(
        "gpt2", {"vocab_size": VOCABULARY, "n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 4, "n_positions": 128}
    ),
    "gpt-neo": Family(
        "gpt_neo",
        {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": 4, "window_size": 16,
         "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 128},
    ),
    "gpt-neox": Family("gpt_neox", _SHAPE | {"intermediate_size": 128}),
    "opt": Family("opt", _SHAPE | {"ffn_dim": 128, "word_embed_proj_dim": HIDDEN}, bos=True),
    "bloom": Family("bloom", {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": 4}),
    "llama": Family("llama", bos=True),
    "mistral": Family("mistral", _GATED | {"sliding_window": 16}, bos=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3", _GATED | {"head_dim": 16}),
    "phi3": Family("phi3", _GATED | {"pad_token_id": 0}),
    "gemma3": Family(
        "gemma3_text",
        _GATED | {"head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
        bos=True,
    ),
    "olmo2": Family("olmo2"),
    "falcon": Family("falcon", _SHAPE | {"new_decoder_architecture": False}),
    "stablelm": Family("stablelm"),
    "mixtral": Family("mixtral", _GATED | {"num_local_experts": 4, "num_experts_per_tok": 2}, bos=True),
    "mamba": Family(
        "mamba", {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "state_size": 8}
    ),
}  # fmt: skip


def tiny_config(family: str) -> Any:
    """The small `transformers` configuration of a family; its special tokens lie inside the vocabulary."""
    from transformers import AutoConfig

    chosen = FAMILIES[family]
    special = {"bos_token_id": BOS, "eos_token_id": BOS, "pad_token_id": BOS}
    return AutoConfig.for_model(chosen.model_type, **(special | chosen.config))


def tiny_module(family: str, *, seed: int) -> Any:
    """The model of a family in float32, the same for the same seed."""
    return drawn_module(tiny_config(family), seed=seed)


def drawn_module(config: Any, *, seed: int) -> Any:
    """A model in float32: the library's initialisation plus noise on every parameter, the same for the same seed.

    torch's global generator is left as it was found.
    """
    with turn, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = new_text_model(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=_SPREAD)
    return module.requires_grad_(False).eval()


def tiny_tokenizer(family: str) -> Any:
    """A tokenizer by bytes: id = byte, 256 = BOS (in front where the family's own tokenizer puts one)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bos = "<bos>"
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    vocabulary |= {bos: BOS} | {f"<unused{i}>": i for i in range(BOS + 1, VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(bos, special=True, normalized=False)])
    if FAMILIES[family].bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, BOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=bos, pad_token=bos, clean_up_tokenization_spaces=False
    )


def _byte_characters() -> list[str]:
    """The character that byte-level tokenizers write for each byte: itself where printable, else one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
