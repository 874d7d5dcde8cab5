"""The theorems checked by machine on small networks: the work behind `sipit prove`."""

import time
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
