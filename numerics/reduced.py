"""A small copy of an architecture: its own class and options at small sizes, where balls can run.

What cannot be evaluated at full size (a witness that a kink is real, the effect of positions) is evaluated there. The
copy is the same code path of the library; only widths, counts and the vocabulary shrink.
"""

import re
from typing import Any

import numpy as np
import torch

from numerics.arithmetic import TorchArithmetic
from numerics.capture import capture_graph, quiet
from proofs.analyticity import Obstructions, prove_analytic
from proofs.branching import LARGEST_FOR_JUMPS, LARGEST_SUBJECT, with_witness
from proofs.errors import SipitError, Unsupported
from proofs.graph import Graph
from proofs.interpreter import evaluate
from proofs.regularity import DISCONTINUOUS, UNPROVED

WIDTH = 32
SHORT = 2  # tokens of the prompt on which a witness is searched
UNBUILDABLE = (SipitError, ValueError, TypeError, KeyError, AttributeError, AssertionError)
# Small values under the names that configs use; only names that a config has are set.
SMALL = {
    "hidden_size": WIDTH, "n_embd": WIDTH, "d_model": WIDTH, "embedding_size": WIDTH, "word_embed_proj_dim": WIDTH,
    "intermediate_size": 24, "ffn_dim": 24, "n_inner": 24, "ffn_hidden_size": 24, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "intermediate_size_mlp": 24, "num_attention_heads": 4, "n_head": 4,
    "num_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64, "max_position_embeddings": 64,
    "n_positions": 64, "n_ctx": 64, "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4,
    "moe_num_experts": 4, "num_experts_per_token": 2, "num_expert_group": 1, "dense_intermediate_size": 24,
    "shared_intermediate_size": 16, "shared_experts_intermediate_size": 16, "moe_shared_expert_intermediate_size": 16,
    "linear_head_dim": 8, "linear_num_heads": 4, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 4,
    "n_groups": 2, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "d_rel": 4,
    "rel_extent": 8, "index_n_heads": 4, "index_head_dim": 16, "qk_head_dim": 16, "chunk_size": 4,
    "embedding_dim": WIDTH, "num_blocks": 2, "ffn_round_up_to_multiple_of": 8, "attention_head_dim": 16,
    "mamba_headdim": 8,
    "mamba_d_state": 4, "adapter_rank": 4, "kv_channels": 8, "num_query_groups": 4, "router_hidden_size": 16,
    "mamba_chunk_size": 4, "first_k_dense_replace": 1,
    "num_experts_per_tok": 2, "moe_topk": 2, "moe_k": 2, "state_size": 4, "time_step_rank": 4, "kv_lora_rank": 8,
    "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "rotary_dim": 4,
    "query_pre_attn_scalar": 8, "expert_ffn_hidden_size": 16, "n_group": 1, "topk_group": 1, "attention_window_size": 8,
    "lru_width": WIDTH, "dff": 24, "n_shared_experts": 1,
}  # fmt: skip


def small_copy(config: Any) -> Any:
    """A config of the same class with small sizes and few blocks; its options are as they were.

    Raises:
        Unsupported: the class refuses these sizes.
    """
    text = config.get_text_config()
    data = text.to_dict()
    changed: dict[str, Any] = {**_shrunk(data)}
    changed |= {name: None for name in ("pad_token_id", "bos_token_id", "eos_token_id") if name in data}
    count = getattr(text, "num_hidden_layers", None)
    per_layer = {name: value for name, value in data.items() if isinstance(value, list) and len(value) == count}
    blocks = max((_shortest_prefix(value) for value in per_layer.values()), default=2)
    for name in ("num_hidden_layers", "n_layer", "num_layers"):
        if isinstance(data.get(name), int):
            changed[name] = min(data[name], max(blocks, 2))
    changed |= {name: (value * 2)[: max(blocks, 2)] for name, value in per_layer.items()}
    if isinstance(data.get("per_layer_config"), dict):
        kept = {number: own for number, own in data["per_layer_config"].items() if int(number) < max(blocks, 2)}
        changed["per_layer_config"] = {number: {**own, **_shrunk(own)} for number, own in kept.items()}
    try:
        with quiet():
            return type(text).from_dict({**data, **changed})
    except Exception as error:  # noqa: BLE001 - a config class may refuse values with any exception
        raise Unsupported(f"Expected sizes that {text.model_type!r} accepts, but it refuses: {error}") from None


def _shrunk(data: dict[str, Any]) -> dict[str, int]:
    """Small sizes for the names that are there, equal where they were equal."""
    changed = {name: min(value, data[name]) for name, value in SMALL.items() if isinstance(data.get(name), int)}
    if isinstance(data.get("attention_hidden_size"), int):
        changed["attention_hidden_size"] = WIDTH * max(1, data["attention_hidden_size"] // data["hidden_size"])
    if data.get("num_key_value_heads") == data.get("num_attention_heads") is not None:
        changed["num_key_value_heads"] = changed["num_attention_heads"]
    if "qk_rope_head_dim" in changed and data.get("head_dim") not in (None, data["qk_rope_head_dim"]):
        changed["head_dim"] = changed["qk_rope_head_dim"] + changed["qk_nope_head_dim"]
    return changed


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
        subject = config if whole else small_copy(config)
        depth = min(_first_block(found), subject.get_text_config().num_hidden_layers)
        layer = found.graph.layer if whole else depth
        graph = capture_graph(subject, layer, found.graph.about["attention"], length=SHORT)
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


def _first_block(found: Obstructions) -> int:
    """The least number of blocks in which an obstruction stands, one that may jump if there is one."""
    jumping = [o for o in found.obstructions if o.regularity == "discontinuous"]
    blocks = [re.search(r"\.(\d+)(\.|$)", o.module) for o in jumping or found.obstructions]
    return min((int(block[1]) + 1 for block in blocks if block), default=1)


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
