"""A small copy of an architecture: its own class and options at small sizes, where balls can run.

What cannot be evaluated at full size (a witness that a kink is real, the effect of positions) is evaluated there. The
copy is the same code path of the library; only widths, counts and the vocabulary shrink.
"""

from typing import Any

import numpy as np
import torch

from numerics.arithmetic import TorchArithmetic
from numerics.capture import capture_graph, quiet
from proofs.analyticity import Obstructions, prove_analytic
from proofs.branching import LARGEST_SUBJECT, with_witness
from proofs.errors import SipitError
from proofs.graph import Graph
from proofs.interpreter import evaluate
from proofs.regularity import DISCONTINUOUS, UNPROVED

WIDTH = 32
SHORT = 2  # tokens of the prompt on which a witness is searched
LARGEST_FOR_JUMPS = 2**16  # parameters; a jump takes a hundred evaluations, a kink four
UNBUILDABLE = (SipitError, ValueError, TypeError, KeyError, AttributeError, AssertionError)
# Small values under the names that configs use; only names that a config has are set.
SMALL = {
    "hidden_size": WIDTH, "n_embd": WIDTH, "d_model": WIDTH, "embedding_size": WIDTH, "word_embed_proj_dim": WIDTH,
    "intermediate_size": 24, "ffn_dim": 24, "n_inner": 24, "ffn_hidden_size": 24, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "intermediate_size_mlp": 24, "num_attention_heads": 4, "n_head": 4,
    "num_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64, "max_position_embeddings": 64,
    "n_positions": 64, "n_ctx": 64, "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_topk": 2, "moe_k": 2, "state_size": 4, "time_step_rank": 4, "kv_lora_rank": 8,
    "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "rotary_dim": 4,
    "query_pre_attn_scalar": 8, "expert_ffn_hidden_size": 16, "n_group": 1, "topk_group": 1, "attention_window_size": 8,
    "lru_width": WIDTH, "dff": 24, "n_shared_experts": 1,
}  # fmt: skip


def small_copy(config: Any) -> Any:
    """A config of the same class with small sizes and few blocks; its options are as they were."""
    text = config.get_text_config()
    data = text.to_dict()
    changed = {name: value for name, value in SMALL.items() if isinstance(data.get(name), int)}
    changed |= {name: None for name in ("pad_token_id", "bos_token_id", "eos_token_id") if name in data}
    per_layer = {
        name: value for name, value in data.items() if isinstance(value, list) and name.endswith("layer_types")
    }
    blocks = max((_shortest_prefix(value) for value in per_layer.values()), default=2)
    for name in ("num_hidden_layers", "n_layer", "num_layers"):
        if isinstance(data.get(name), int):
            changed[name] = min(data[name], max(blocks, 2))
    changed |= {name: (value * 2)[: max(blocks, 2)] for name, value in per_layer.items()}
    with quiet():
        return type(text).from_dict({**data, **changed})


def _shortest_prefix(kinds: list[Any]) -> int:
    return max(kinds.index(kind) for kind in set(map(str, kinds))) + 1 if kinds and isinstance(kinds[0], str) else 2


def small_graph(config: Any, attention: Any = "eager", *, length: int = 3) -> Graph | None:
    """The graph of the small copy, or None where the class cannot be built that small."""
    try:
        return capture_graph(small_copy(config), attention=attention, length=length)
    except UNBUILDABLE:
        return None


def witness_in_small_copy(found: Obstructions, config: Any) -> Obstructions:
    """The obstructions with a certified witness from a short prompt: of the network itself where that is small, else
    of a small copy. The witness says which, and carries the graph that it is about.
    """
    jumps = any(obstruction.regularity == "discontinuous" for obstruction in found.obstructions)
    largest = LARGEST_FOR_JUMPS if jumps else LARGEST_SUBJECT
    whole = sum(type.size for _, type in found.graph.parameters()) <= largest
    try:
        graph = capture_graph(
            config if whole else small_copy(config),
            found.graph.layer if whole else None,
            found.graph.about["attention"],
            length=SHORT,
        )
    except UNBUILDABLE:
        return found
    small = prove_analytic(graph)
    kinds = {obstruction.operation for obstruction in found.obstructions}
    if not isinstance(small, Obstructions) or not kinds & {obstruction.operation for obstruction in small.obstructions}:
        return found
    small = with_witness(small)
    if small.witness is None:
        return found
    network = "this network" if whole else f"a copy of the same class at width {WIDTH}, {graph.layer} blocks"
    data = {**small.witness, "subject": f"{network}, on prompts of {graph.length} tokens", "graph": graph.to_json()}
    jump = small.witness["claim"] == "discontinuous" and found.regularity >= UNPROVED
    regularity = DISCONTINUOUS if jump else found.regularity
    return Obstructions(found.graph, found.facts, found.conditions, found.obstructions, regularity, data)


def sees_later_tokens(graph: Graph, *, seed: int = 0) -> bool | None:
    """Whether the first state changes with the last token, at random parameters in float64; None if not evaluable."""
    tokens = [[1] * graph.length, [1] * (graph.length - 1) + [2]]
    here, there = (_states(graph, prompt, seed) for prompt in tokens)
    if here is None or there is None:
        return None
    first, second = here[0], there[0]
    return bool((first - second).abs().max() > 1e-9 * first.abs().max())


def spread_on_repeated_tokens(graph: Graph, *, seed: int = 0) -> float | None:
    """How far the states of a prompt of equal tokens are apart, relative to the largest entry, in float64.

    Parameters are drawn from a Gaussian. Near 1e-15 for a structural collision; None where nothing can be evaluated.
    """
    states = _states(graph, [1] * graph.length, seed)
    return None if states is None else float((states - states[:1]).abs().max() / states.abs().max())


def _states(graph: Graph, tokens: list[int], seed: int) -> torch.Tensor | None:
    """The states of a prompt at Gaussian parameters drawn from a seed, or None."""
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, Any] = {"tokens": np.array([tokens], dtype=np.int64)}
    for name, type in graph.parameters():
        inputs[name] = torch.randn(type.shape, generator=generator, dtype=torch.float64) * 0.3
    try:
        with torch.no_grad():
            return evaluate(graph, inputs, TorchArithmetic())[0]
    except (SipitError, RuntimeError, IndexError, ValueError):
        return None
