"""Enclosures and parameters as balls of Arb."""

from collections.abc import Mapping
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Discrete
from proofs.enclosures.enclosure import Enclosure
from proofs.enclosures.segments import STATE, inputs_of
from proofs.network.graph import Graph

MOST_BALLS = 2**23  # parameters held as balls at a time, some 120 bytes each


class ArbOverFloats(Balls):
    """Balls over parameters that are still floats: rows of a table are made balls when they are taken."""

    def take(self, x: Any, index: Discrete, axis: int) -> Any:
        """Entries along an axis by index."""
        rows = super().take(x, index, axis)
        return balls_of(rows) if rows.dtype.kind == "f" else rows


class Parameters:
    """Parameters as exact balls, made when they are used; a table of which only rows are taken stays floats."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self._balls: dict[str, Any] = {}

    def of(self, graph: Graph) -> dict[str, Any]:
        """The parameters that a graph reads."""
        names = [name for name in inputs_of(graph) if name != STATE]
        tables = {name for name in names if _only_taken(graph, name)}
        new = [name for name in names if name not in tables and name not in self._balls]
        if sum(self._weights[name].size for name in (*new, *self._balls)) > MOST_BALLS:
            self._balls = {name: self._balls[name] for name in names if name in self._balls}
        self._balls |= {name: balls_of(self._weights[name]) for name in new}
        return {name: self._weights[name] if name in tables else self._balls[name] for name in names}


def _only_taken(graph: Graph, name: str) -> bool:
    places = {i for i, n in enumerate(graph.nodes) if n.operation == "parameter" and n.attributes["name"] == name}
    users = [n for n in graph.nodes if places & {*n.arguments}]
    return all(n.operation == "take" and n.arguments[0] in places and n.arguments[1] not in places for n in users)


def balls_of(x: NDArray[Any]) -> Any:
    """Floats as balls of radius 0."""
    result = np.empty(x.size, dtype=object)
    result[:] = [flint.arb(v) for v in x.astype(np.float64).ravel().tolist()]
    return result.reshape(x.shape)


def as_balls(enclosure: Enclosure) -> Any:
    """The enclosure as balls (1, tokens, width); a midpoint is exact, a radius rounded up by Arb."""
    result = np.empty((1, *enclosure.mantissa.shape), dtype=object)
    for row, radius in enumerate(enclosure.radius):
        size = flint.arb((radius, -enclosure.bits))
        result[0, row] = [flint.arb(flint.arb((m, -enclosure.bits)), size) for m in enclosure.mantissa[row].tolist()]
    return result
