"""The states of one prefix followed by each of very many tokens, enclosed in float64 midpoint-radius arithmetic."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Undecided
from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import WIDE, Midpoint, enclosed
from proofs.arithmetic.midpoint_functions import ROOT_UNDERFLOW, UP, Floats
from proofs.enclosures.segments import inputs_of, rows_of_tokens
from proofs.errors import Unsupported
from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import evaluate
from proofs.processes import in_order

ROWS = "(rows of {})"  # the name of the parameter that stands for the rows that the tokens take from a table
BATCH = 128  # tokens at a time: their activations stay in the processor's cache

ARITHMETIC = "float64 midpoints and radii, every rounding bounded; exponentials from IEEE operations"


@dataclass(frozen=True, slots=True, eq=False)
class Continuations:
    """The network with the tables opened that its tokens index: rows of them take the place of the tokens.

    Attributes:
        graph: reads no tokens; `ROWS` of every table stands for (1, length, width) rows.
        tables: those tables by name, shape (vocabulary, width).
        weights: the other parameters, widened to float64.
        prefix: the tokens before the last one.
    """

    graph: Graph
    tables: Mapping[str, NDArray[Any]]
    weights: Mapping[str, Floats]
    prefix: tuple[int, ...]
    arithmetic: Midpoint

    @classmethod
    def of(cls, graph: Graph, weights: Mapping[str, NDArray[Any]], prefix: Sequence[int]) -> "Continuations":
        """Opens a captured graph.

        Raises:
            Unsupported: the tokens are read by something other than tables, or a parameter has the name that is kept
                for their rows.
        """
        nodes = list(graph.nodes)
        tables: dict[str, NDArray[Any]] = {}
        for index, name in rows_of_tokens(graph).items():
            node = nodes[index]
            tables[name] = weights[name]
            attributes = {"name": ROWS.format(name), "shape": node.type.shape, "kind": node.type.kind}
            nodes[index] = Node("parameter", (), attributes, node.type)
        opened = replace(graph, nodes=tuple(nodes))
        rows = {ROWS.format(name) for name in tables}
        if taken := rows.intersection(name for name, _ in graph.parameters()):
            raise Unsupported(f"Expected no parameter called {min(taken)!r}, but the graph has one; rename it.")
        others = {name: weights[name].astype(np.float64) for name in inputs_of(opened) if name not in rows}
        return cls(opened, tables, others, tuple(prefix), Midpoint())

    def classes(self, count: int) -> list[list[int]]:
        """The first `count` tokens by classes that no table tells apart, in the order of their smallest members."""
        found: dict[bytes, list[int]] = {}
        for token in range(count):
            total = hashlib.sha256()
            for table in self.tables.values():
                total.update((table[token].astype("<f8") + 0.0).tobytes())  # -0.0 is the same number
            found.setdefault(total.digest(), []).append(token)
        for group in found.values():
            first = [table[group[0]] for table in self.tables.values()]
            for other in group[1:]:
                assert all((a == t[other]).all() for a, t in zip(first, self.tables.values(), strict=True))
        return list(found.values())

    def states(self, tokens: Sequence[int]) -> tuple[Floats, Floats]:
        """Midpoints and radii of the last states, each of shape (tokens, width).

        Raises:
            Undecided: radii are too wide to go on with, or not finite at the end.
        """
        rows = [*self.prefix, tokens[0]]
        last = len(self.prefix)
        inputs: dict[str, Any] = dict(self.weights)
        for name, table in self.tables.items():
            base = table[rows].astype(np.float64)[None]
            varies = np.zeros(base.shape, dtype=np.bool_)
            varies[:, last] = True
            lanes = table[list(tokens)].astype(np.float64)[:, None, None]
            box = (slice(0, 1), slice(last, last + 1), slice(0, table.shape[1]))
            inputs[ROWS.format(name)] = Laned(base, lanes, varies, box)
        with np.errstate(all="ignore"):  # what overflows has an infinite radius, or none that is a number
            result = evaluate(self.graph, inputs, Lanes(self.arithmetic))
            width = result.shape[-1]
            if not isinstance(result, Laned) or not result.varies[0, last].any():
                raise Unsupported("Expected states that depend on the last token, but they do not.")
            found = enclosed(Lanes(self.arithmetic).on(result, (slice(0, 1), slice(last, last + 1), slice(0, width))))
        mid, radius = (np.ascontiguousarray(part.reshape(-1, width)) for part in (found.mid, found.radius))
        if not (np.isfinite(mid).all() and np.isfinite(radius).all()):
            raise Undecided(WIDE)
        return mid, radius

    def all_states(
        self, tokens: Sequence[int], workers: int, progress: Callable[[int, int], None]
    ) -> tuple[Floats, Floats]:
        """Midpoints (tokens, width), and the radius in the 2-norm of each state (tokens,), rounded up."""
        batches = [tokens[start : start + BATCH] for start in range(0, len(tokens), BATCH)]
        mid, radius = np.empty((0, 0)), np.empty(len(tokens))
        done = 0
        self.states(tokens[:2])  # the sizes of the weights are found once, and shared
        for states, radii in in_order(self, _batch, batches, workers):
            if not mid.size:
                mid = np.empty((len(tokens), states.shape[1]))
            mid[done : done + len(states)], radius[done : done + len(states)] = states, radii
            done += len(states)
            progress(done, len(tokens))
        return mid, radius


def _batch(opened: Continuations, tokens: Sequence[int]) -> tuple[Floats, Floats]:
    mid, radius = opened.states(tokens)
    return mid, norms(radius)


def norms(rows: Floats) -> Floats:
    """The 2-norms of rows, rounded up."""
    squares = np.square(rows).sum(axis=1)
    return np.sqrt(squares) * (UP + rows.shape[1] * 2.0**-51) + ROOT_UNDERFLOW
