"""What the atlas examines of one architecture: the regularity that is proved, and whether a small copy is inverted."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from proofs.errors import SipitError

# What the library's default config leaves out, as published models of the class have it.
COMPLETED: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 50000.0}}},
    "dbrx": {"attn_config": {"rope_theta": 500000.0, "kv_n_heads": 8, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 6, "n_group": 8, "topk_group": 3},
    "dots1": {
        "n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
    },
    "gemma4_assistant": {"text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}},
    "granitemoehybrid": {
        "num_hidden_layers": 40,
        "layer_types": (["linear_attention"] * 5 + ["full_attention"] + ["linear_attention"] * 4) * 4,
    },
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "qwen4_exp_text": {
        "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 256, "indexer_budget": 2048,
        "indexer_compress_ratio": 4,
    },
    "xmod": {"default_language": "en_XX"},
}  # fmt: skip
COMPLETED["qwen4_exp"] = {"text_config": COMPLETED["qwen4_exp_text"]}

SEED = 0
SHORT = (2, 7)  # tokens at which collisions are looked for
LENGTHS = (12, 7)  # tokens of the prompts that are inverted; special tokens are 0 in a small copy and do not occur


class _Unbuildable(Exception):
    """The library builds no model of this class from these sizes."""


def names() -> list[str]:
    """Every model type with a causal language model class and a config of its own."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return sorted(name for name in CONFIG_MAPPING if CONFIG_MAPPING[name] in MODEL_FOR_CAUSAL_LM_MAPPING)


def made_with(part: str) -> dict[str, Any]:
    """What an answer depends on: versions (builds of one for several devices are one), and the lengths of prompts."""
    from sipit.claims.check import LENGTH

    versions = {name: version(name).partition("+")[0] for name in ("torch", "transformers")}
    return {**versions, "tokens": {"regularity": [LENGTH], "collisions": list(SHORT)}.get(part, list(LENGTHS))}


def config_of(name: str) -> Any:
    """The default config of a model type, as a decoder where the class can be built as an encoder too."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(name, **COMPLETED.get(name, {}))
    for flag in ("is_decoder", "causal"):
        if getattr(config, flag, None) is False:
            setattr(config, flag, True)
    return config


def regularity(name: str) -> dict[str, Any]:
    """What is proved of the map from parameters to the last state, one block per kind of block."""
    from numerics.graphs.capture import capture_graph
    from numerics.graphs.positions import position_scheme
    from numerics.graphs.small_graphs import small_graph, witness_in_small_copy
    from proofs.provers.analyticity import Obstructions, prove_analytic
    from proofs.structure.dependence import causal
    from sipit.claims.check import LENGTH, ON_SMALL_COPY

    config = config_of(name)
    graphs = {length: capture_graph(config, distinct=True, length=length) for length in (2, LENGTH)}
    graph = graphs[LENGTH]
    small = small_graph(config, length=ON_SMALL_COPY)
    proved = prove_analytic(graph)
    found: dict[str, Any] = {
        "architecture": graph.about["architecture"],
        "blocks": graph.about["captured_layers"],
        "nodes": len(graph.nodes),
        "class": str(proved.regularity),
        "conditions": len(proved.conditions),
        "positions": position_scheme(graphs, config, small, "eager").scheme,
        "causal": causal(graph),
        "obstruction": None,
        "witness": None,
    }
    if isinstance(proved, Obstructions):
        first = proved.obstructions[0]
        found["obstruction"] = f"{first.operation} at {first.source}"
        proved = witness_in_small_copy(proved, config)
        found["class"] = str(proved.regularity)
        found["witness"] = None if proved.witness is None else proved.witness["claim"]
    return found


def collisions(name: str) -> dict[str, Any]:
    """The families that collide for every parameter in a small copy, at three lengths, and by which theorem each."""
    from numerics.graphs.positions import position_scheme
    from numerics.graphs.small_graphs import small_graph
    from numerics.graphs.windows import window
    from proofs.formal.names import formal
    from proofs.kernel.collisions import find_collisions
    from sipit.claims.check import placed

    config = config_of(name)
    built = {length: small_graph(config, length=length) for length in SHORT}
    graphs = {length: graph for length, graph in built.items() if graph is not None}
    if len(graphs) < len(built):
        raise _Unbuildable("No small copy is built and captured.")
    found = find_collisions(graphs)
    scheme = position_scheme(graphs, config, small_graph(config), "eager").scheme
    return {
        "families": {entry["family"]: [one.theorem for one in formal(entry["family"])] for entry in found},
        "classification": placed(config, window(config), scheme, {entry["family"] for entry in found}),
    }


def inversion(name: str) -> dict[str, Any]:
    """Whether random prompts are recovered from states of a small random copy, at its middle layer and at `final`."""
    import torch

    from sipit.models.architecture import language_model_of

    module = _small_module(name)
    found: dict[str, Any] = {"architecture": type(module).__name__}
    model = language_model_of(f"small-{name}", module)
    found |= {"blocks": model.layers, "abilities": model.abilities.as_dict()}
    generator = torch.Generator().manual_seed(SEED)
    prompts = [torch.randint(1, model.vocabulary_size, (n,), generator=generator).tolist() for n in LENGTHS]
    for place, layer in (("middle", model.layers // 2), ("final", "final")):
        found[place] = _outcome(model, prompts, layer)
    return found


def _small_module(name: str) -> Any:
    from numerics.networks.shrinking import small_copy
    from sipit.models.tiny import drawn_module

    try:
        return drawn_module(small_copy(config_of(name)), seed=SEED)
    except Exception as error:  # noqa: BLE001 - classes refuse sizes with any exception, and that is their answer
        raise _Unbuildable(_said(error)) from None


def _outcome(model: Any, prompts: list[list[int]], layer: Any) -> dict[str, Any]:
    """`recovered` where every prompt is, and rightly; else the first outcome that is not, with its reason."""
    import sipit

    try:
        inversions = sipit.invert(model, sipit.capture(model, prompts, layer=layer))
    except SipitError as error:
        return {"layer": layer, "outcome": "refused", "reason": str(error)}
    for prompt, found in zip(prompts, inversions, strict=True):
        if found.outcome != "recovered":
            reason = found.alternatives[0].reason if found.alternatives else found.outcome.explanation
            return {"layer": layer, "outcome": str(found.outcome), "reason": reason}
        if found.token_ids != prompt:
            return {"layer": layer, "outcome": "wrong", "reason": f"{found.token_ids} in the place of {prompt}"}
    return {"layer": layer, "outcome": "recovered", "reason": None}


PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "regularity": regularity, "collisions": collisions, "inversion": inversion,
}  # fmt: skip


def examine(part: str, name: str) -> dict[str, Any]:
    """One part of a line: what was found or why nothing was, made with what, in how many seconds of computing.

    `failure` says that the library does not build the class, that it was `refused` in a sentence of ours, or that
    something went wrong that is a `fault`.
    """
    began = time.process_time()
    try:
        found = PARTS[part](name)
    except _Unbuildable as error:
        found = {"failure": "not built", "reason": str(error)}
    except SipitError as error:
        found = {"failure": "refused", "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - the page lists every architecture that fails, with the reason
        found = {"failure": "fault", "reason": _said(error)}
    return {**found, "made_with": made_with(part), "seconds": round(time.process_time() - began, 1)}


def _said(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
