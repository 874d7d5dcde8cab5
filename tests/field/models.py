"""Small random models as people save them, and what a plain run of `transformers` gives for them."""

import torch
import transformers as tf

from sipit.models.tiny import tiny_tokenizer

COMMON = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip


def drawn(make, *, seed=0):
    """A model made under a seed, every parameter moved off the library's own initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return module.requires_grad_(False).eval()


def llama(**fields):
    """A llama with some fields of its configuration changed."""
    return drawn(lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**COMMON | fields)))


def saved(module, folder, *, tokenizer="gpt2"):
    """The name of a folder with the module, and beside it a tokenizer by bytes (None: none)."""
    module.save_pretrained(folder)
    if tokenizer is not None:
        tiny_tokenizer(tokenizer).save_pretrained(folder)
    return str(folder)


def drawn_ids(length, *, seed, rows=512):
    """Random ids of a prompt; the special ones at the beginning are left out."""
    return torch.randint(3, rows, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def plain(folder, ids, *, dtype=torch.float32):
    """The hidden states (T, d) of a prompt by a plain run in a process of its own mind: the model is loaded anew."""
    module = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        found = module(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    return [states[0].clone() for states in found]
