"""A captured graph beside the class that it was captured from: both are run, and may differ by rounding alone."""

from typing import Any

import torch

from numerics.graphs.capture import build, find_blocks
from numerics.graphs.float64 import segment_states
from numerics.graphs.runs import UpTo
from numerics.networks.library import unlogged
from proofs.errors import SipitError
from proofs.network.graph import Graph

ROUNDINGS = 64  # times what float32 makes of the graph; what is farther away is no rounding
SPREAD = 0.3  # standard deviation of the parameters that are drawn
TRIALS = 3  # a choice that a tie or rounding turns is not turned in all of them


def explained(theirs: torch.Tensor, exact: torch.Tensor, rounded: torch.Tensor) -> tuple[float, float]:
    """How far (L2) the library's states are from those of a graph in float64, and how far rounding explains.

    Args:
        theirs: the states by the library, in float32 or wider.
        exact: those of the graph in float64.
        rounded: those of the graph in float32; where they overflow, only what rounds them once is explained.
    """
    if theirs.shape != exact.shape:
        return float("inf"), 0.0
    noise = (rounded - exact).norm().nan_to_num(0.0, posinf=0.0)
    return float((theirs - exact).norm()), ROUNDINGS * float(noise + torch.finfo(torch.float32).eps * exact.norm())


def departs(graph: Graph, config: Any, attention: Any) -> tuple[float, float] | None:
    """How far graph and class are apart at random parameters and tokens, and what rounding explains, if that is less.

    None where they agree, or where one of them cannot be run.
    """
    worst: tuple[float, float] | None = None
    for seed in range(TRIALS):
        try:
            apart, allowed = explained(*_states(graph, config, attention, seed))
        except (SipitError, RuntimeError, IndexError, KeyError, ValueError, TypeError):
            return None
        if apart <= allowed:
            return None
        worst = apart, allowed
    return worst


def _states(graph: Graph, config: Any, attention: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The states of a prompt at one layer: by the library in float32, by the graph in float64 and in float32."""
    module, generator = build(config, attention, device="cpu"), torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * SPREAD
    ids = torch.randint(_vocabulary(graph), (1, graph.length), generator=generator)
    held = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    weights = {name: held[name].detach().double().numpy().copy() for name, _ in graph.parameters()}
    (*_, exact), (*_, rounded) = (
        segment_states(graph, ids[0].tolist(), weights, dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    with torch.no_grad(), unlogged():
        theirs = UpTo(module, find_blocks(module), graph.layer)(ids).double()
    return theirs, exact, rounded.double()


def _vocabulary(graph: Graph) -> int:
    return min(int(str(node.attributes["vocabulary"])) for node in graph.nodes if node.operation == "tokens")
