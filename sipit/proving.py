"""The theorems checked by machine on small networks: the work behind `sipit prove`."""

import time
from fractions import Fraction
from typing import Any

from proofs.errors import InvalidInput
from proofs.evidence import Record


def prove_witness(*, vocabulary: int, context: int) -> Record:
    """The published witness of Theorem 2.2, as printed and as repaired, over all ordered pairs of prompts.

    Args:
        vocabulary: number of tokens.
        context: largest number of tokens of a prompt.

    Raises:
        InvalidInput: too many pairs, or a size below one.
    """
    from numerics.capture import capture_graph
    from proofs.witness import WIDTH, count_witness

    if vocabulary < 1 or context < 1:
        raise InvalidInput(f"Expected at least one token and position, but got {vocabulary} and {context}.")
    began = time.perf_counter()
    config = _gpt2(vocabulary=vocabulary, context=context, width=WIDTH)
    graphs = {length: capture_graph(config, length=length) for length in range(1, context + 1)}
    found = count_witness(graphs, vocabulary=vocabulary, context=context)
    certificate = found.to_json()
    result = {name: value for name, value in certificate["claim"].items() if name != "graphs"}
    result["examples"] = certificate["zero"][:8]
    arithmetic = "exact sums of square roots; Arb balls of 128 bits where the state leaves that ring"
    provenance = _provenance("GPT-2 of width 4, one head, one block", arithmetic)
    record = {**result, "certificate": certificate}
    return Record("prove witness", found.verdict, record, provenance, time.perf_counter() - began)


def prove_training_step(*, model: str, width: int, rate: str, optimizer: str, seed: int) -> Record:
    """One optimizer step on a small copy of a family: its Jacobian determinant, certified not to vanish.

    Args:
        model: `tiny-<family>`, whose class is used with one block, three tokens and prompts of two.
        width: of the states.
        rate: an exact rational such as 1/10.
        optimizer: gd, weight-decay, clip-value, sign, heavy-ball, adam or adamw.
        seed: draws the parameters.

    Raises:
        InvalidInput: no such family or optimizer, a rate that is not a positive rational, or too many parameters.
        Unsupported: an activation whose derivatives are not known.
    """
    from numerics.logits import capture_logits
    from proofs.optimizers import Rule
    from proofs.training_step import BITS, RULES, Sample, prove_step

    began = time.perf_counter()
    try:
        exact = Fraction(rate)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"Expected a rational rate such as 1/10, but got --rate {rate}.") from None
    named: dict[str, Rule] = {known: known for known in RULES}
    rule = named.get(optimizer)
    if rule is None:
        raise InvalidInput(f"Expected an optimizer among {', '.join(RULES)}, but got --optimizer {optimizer}.")
    graph = capture_logits(_toy(model, width), length=2)
    one, half = Fraction(1), Fraction(1, 2)
    samples = [Sample((0, 1), (one, 0 * one, 0 * one)), Sample((1, 2), (0 * one, half, half)),
               Sample((2, 2), (0 * one, one, 0 * one))]  # fmt: skip
    found = prove_step(graph, samples, rule=rule, rate=exact, seed=seed)
    claim = found.claim
    result = {
        "parameters": claim["parameters"],
        "rate": rate,
        "determinant": claim["one sample"],
        "batch": {"samples": len(samples), "determinant": claim["batch"]},
        "optimizer": rule,
        **{name: claim[name] for name in ("statement", "at_zero", "symbolic", "open")},
        "rates_covered": "every eta > 0 but finitely many at each point; at 0 every eta with eta |w| != 1, "
        "hence all of (0, 1], since |w|^2 <= 1 - 1/n",
        "certificate": found.to_json(),
    }
    provenance = _provenance(f"{model} at width {width}, one block", f"Arb balls of {BITS} bits; exact at 0", seed=seed)
    return Record("prove training-step", found.verdict, result, provenance, time.perf_counter() - began)


def _toy(model: str, width: int) -> Any:
    """A family's own class with one block, one head, three tokens and an unembedding of its own."""
    from sipit.models.tiny import FAMILIES, tiny_config

    family = model.removeprefix("tiny-")
    if not model.startswith("tiny-") or family not in FAMILIES:
        raise InvalidInput(f"Expected tiny-<family>, but got --model {model}; families: {', '.join(FAMILIES)}.")
    if not 1 <= width <= 64:
        raise InvalidInput(f"Expected a width from 1 to 64, but got --width {width}.")
    config = tiny_config(family)
    small = {
        "hidden_size": width, "n_embd": width, "num_hidden_layers": 1, "n_layer": 1, "num_layers": 1,
        "num_attention_heads": 1, "n_head": 1, "num_heads": 1, "num_key_value_heads": 1, "head_dim": width,
        "intermediate_size": width, "ffn_dim": width, "n_inner": width, "word_embed_proj_dim": width,
        "vocab_size": 3, "max_position_embeddings": 4, "n_positions": 4,
    }  # fmt: skip
    data = config.to_dict()
    changed = {name: value for name, value in small.items() if name in data}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    kinds = {name: value[:1] for name, value in data.items() if name == "layer_types" and isinstance(value, list)}
    return type(config).from_dict({**data, **changed, **special, **kinds, "tie_word_embeddings": False})


def _gpt2(*, vocabulary: int, context: int, width: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        n_embd=width, n_head=1, n_layer=1, vocab_size=vocabulary, n_positions=context, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip


def _provenance(model: str, arithmetic: str, *, seed: int | None = None) -> dict[str, Any]:
    from importlib.metadata import version

    names = ("torch", "transformers", "python-flint", "numpy")
    return {
        "model": model,
        "seed": seed,
        "arithmetic": arithmetic,
        "versions": {name: version(name) for name in names},
    }
