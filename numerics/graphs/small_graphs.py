"""What is evaluated in a small copy of an architecture: its own class and options at small sizes.

What cannot be evaluated at full size (a witness that a kink is real, the effect of positions) is evaluated there.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from numerics.graphs.capture import capture_graph
from numerics.graphs.float64 import TorchArithmetic
from numerics.networks.shrinking import WIDTH, small_copy
from proofs.errors import SipitError
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.provers.analyticity import Obstructions, prove_analytic
from proofs.provers.branches import LARGEST_FOR_JUMPS, LARGEST_SUBJECT, with_witness

SHORT = 2  # tokens of the prompt on which a witness is searched
UNBUILDABLE = (SipitError, ValueError, TypeError, KeyError, AttributeError, AssertionError)


def small_graph(config: Any, attention: Any = "eager", *, length: int = 3, layer: int | None = None) -> Graph | None:
    """The graph of the small copy, or None where the class cannot be built that small."""
    try:
        return capture_graph(small_copy(config), layer, attention, length=length)
    except UNBUILDABLE:
        return None


def witness_in_small_copy(found: Obstructions, config: Any) -> Obstructions:
    """The obstructions with a certified witness: on the graph itself where that is small, else on a small copy.

    A witness on a copy carries its graph, is a claim about the copy alone, and leaves the class of the large one as it
    is proved.
    """
    jumps = any(obstruction.regularity == "discontinuous" for obstruction in found.obstructions)
    largest = LARGEST_FOR_JUMPS if jumps else LARGEST_SUBJECT
    if sum(type.size for _, type in found.graph.parameters()) <= largest:
        return with_witness(found)
    try:
        subject = small_copy(config)
        layer = min(_first_block(found), subject.get_text_config().num_hidden_layers)
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
    network = f"a copy of the same class at width {WIDTH}, {graph.layer} blocks"
    data = {**small.witness, "subject": f"{network}, on prompts of {graph.length} tokens", "graph": graph.to_json()}
    return replace(found, witness=data)


def _first_block(found: Obstructions) -> int:
    """The least number of blocks in which an obstruction stands, one that may jump if there is one."""
    jumping = [o for o in found.obstructions if o.regularity == "discontinuous"]
    blocks = [re.search(r"\.(\d+)(\.|$)", o.module) for o in jumping or found.obstructions]
    return min((int(block[1]) + 1 for block in blocks if block), default=1)


def sees_later_tokens(graph: Graph, *, seed: int = 0) -> bool | None:
    """Whether a state changes with the last token behind it, at random parameters in float64; None if not evaluable."""
    tokens = [[1] * graph.length, [1] * (graph.length - 1) + [2]]
    here, there = (_states(graph, prompt, seed) for prompt in tokens)
    if here is None or there is None:
        return None
    first, second = here[:-1], there[:-1]
    return bool((first - second).abs().max() > 1e-9 * first.abs().max())


def spread_on_repeated_tokens(graph: Graph, *, seed: int = 0) -> float | None:
    """How far the states of a prompt of equal tokens are apart, relative to the largest entry, in float64.

    Parameters are drawn from a Gaussian. Near 1e-15 for a structural collision; None where nothing can be evaluated.
    """
    states = _states(graph, [1] * graph.length, seed)
    return None if states is None else float((states - states[:1]).abs().max() / states.abs().max())


def last_states_apart(graph: Graph, first: Sequence[int], second: Sequence[int], *, seed: int = 0) -> float | None:
    """How far the last states of two prompts of the captured length are apart, relative to their size, in float64."""
    one, other = (_states(graph, [*prompt], seed) for prompt in (first, second))
    if one is None or other is None:
        return None
    return float((one[-1] - other[-1]).abs().max() / one[-1].abs().max())


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
