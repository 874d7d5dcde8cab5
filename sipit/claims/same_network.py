"""The captured graph beside the library's own run: what is certified of the one holds of the other where they agree."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from numerics.graphs.as_its_class import explained
from numerics.graphs.capture import capture_graph
from numerics.graphs.float64 import segment_states
from proofs.errors import Unsupported
from proofs.network.graph import Graph
from sipit.claims.weights import weights_of
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.models.layers import layered_states

WIDE = (torch.float32, torch.float64)  # the second where the first overflows

AsCaptured = tuple[list[Graph], dict[str, NDArray[Any]], dict[str, list[str]]]


def graphs_as_it_runs(model: LanguageModel, layer: int, rows: Sequence[Sequence[int]]) -> AsCaptured:
    """The graphs for the lengths of some prompts, with the weights that they read and the other names of tied ones.

    Raises:
        Unsupported: the network cannot be captured, has hidden weights, or computes something else than its graph.
    """
    try:
        return _captured(model, layer, rows, "eager")
    except Unsupported as reason:
        try:
            return _captured(model, layer, rows, "sdpa")  # another network in some classes, as in a Falcon with ALiBi
        except Unsupported:
            raise reason from None


def _captured(
    model: LanguageModel, layer: int, rows: Sequence[Sequence[int]], attention: Literal["eager", "sdpa"]
) -> AsCaptured:
    lengths = sorted({len(row) for row in rows})
    graphs = [capture_graph(model.module.config, layer, attention, length=n, stored=True) for n in lengths]
    weights, tied = weights_of(model, graphs)
    expect_same_network(model, graphs, rows, weights)
    return graphs, weights, tied


def expect_same_network(
    model: LanguageModel, graphs: Iterable[Graph], rows: Sequence[Sequence[int]], weights: Mapping[str, NDArray[Any]]
) -> None:
    """Runs a prompt of every length through the model and through the graph of that length, in float32 or wider.

    Raises:
        Unsupported: some state of a prompt differs by more than rounding, so that a bound would be of another network.
    """
    running = model if model.dtype in WIDE else in_dtype(model, WIDE[0])
    for graph in graphs:
        tokens = next(row for row in rows if len(row) == graph.length)
        exact, rounded = (_state(graph, tokens, weights, dtype) for dtype in WIDE[::-1])
        theirs = _library(running, tokens, graph.layer)
        if not theirs.isfinite().all():
            running = in_dtype(model, WIDE[-1])
            theirs = _library(running, tokens, graph.layer)
        apart, allowed = explained(theirs, exact, rounded)
        if not apart <= allowed:
            raise Unsupported(
                f"Expected the captured graph to compute what {type(model.module).__name__} does, but for "
                f"{graph.length} tokens their states at layer {graph.layer} are {apart:.2g} apart, where rounding "
                f"explains {allowed:.2g}; name another layer, or a model whose code the graph follows."
            )


def _state(graph: Graph, tokens: Sequence[int], weights: Mapping[str, Any], dtype: torch.dtype) -> torch.Tensor:
    *_, state = segment_states(graph, tokens, weights, dtype=dtype)
    return state[0].double()


def _library(model: LanguageModel, tokens: Sequence[int], layer: int) -> torch.Tensor:
    """The states of a prompt, shape (T, d), by the library."""
    return layered_states(model, tokens, [layer])[0].double().cpu()
