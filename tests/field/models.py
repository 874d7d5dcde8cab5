"""Small random models as people save them, and what a plain run of `transformers` gives for them."""

import torch
import transformers as tf

from tests.sipit.folders import drawn

COMMON = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip


def llama(**fields):
    """A llama with some fields of its configuration changed."""
    return drawn(lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**COMMON | fields)))


def drawn_ids(length, *, seed, rows=512):
    """Random ids of a prompt; the special ones at the beginning are left out."""
    return torch.randint(3, rows, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def plain(folder, ids, *, dtype=torch.float32):
    """The hidden states (T, d) of a prompt by a plain run in a process of its own mind: the model is loaded anew."""
    kind = getattr(tf, tf.AutoConfig.from_pretrained(folder).architectures[0])  # which need not be one of text alone
    module = kind.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        found = module(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    return [states[0].clone() for states in found]
