"""Which entries of a network vary with its last token: what `proofs.arithmetic.lanes` computes for each of very many.

The lanes themselves are run, for one token, on numbers of which nothing is known but what constants tell: which entries
are -inf, and which an exact zero. Of known numbers more are exact zeros, never fewer, so that the boxes found here hold
those of any weights.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import Middle, Midpoint, Sign, enclosed
from proofs.enclosures.segments import rows_of_tokens
from proofs.errors import SipitError, Unsupported
from proofs.kernel.result import Rejected
from proofs.kernel.wellformed import well_formed
from proofs.network.graph import Graph, Node
from proofs.operations import REGISTRY
from proofs.operations.interpreter import live

Box = tuple[int, ...]  # its sides
NOTHING_IS_SAID = (
    SipitError, Rejected, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError,
    ValueError,
)  # fmt: skip


def boxes(graph: Graph) -> dict[int, Box] | None:
    """Of every node that varies with the last token the sides of a box around what does; None where it is not known.

    It takes about as long as one prompt in floats, and nothing where a graph is not well formed.
    """
    try:
        well_formed(graph)
        with np.errstate(all="ignore"):
            return _found(graph)
    except NOTHING_IS_SAID:
        return None


def _found(graph: Graph) -> dict[int, Box]:
    lanes, order = Lanes(_Unknown()), live(graph)
    last = {argument: index for index in order for argument in graph.nodes[index].arguments}
    rows = rows_of_tokens(graph)
    values: dict[int, Any] = {}
    found: dict[int, Box] = {}
    for index in order:
        node = graph.nodes[index]
        values[index] = _rows(node) if index in rows else _value(graph, node, values, lanes)
        made = values[index].difference if isinstance(values[index], Sign) else values[index]
        if isinstance(made, Laned):
            found[index] = tuple(side.stop - side.start for side in made.box)
        for argument in node.arguments:
            if last[argument] == index:
                values.pop(argument, None)
    return found


def _value(graph: Graph, node: Node, values: dict[int, Any], lanes: Lanes) -> Any:
    if node.operation == "tokens":
        return None  # rows alone are taken at them
    if node.operation == "parameter":
        return _unknown(node.type.shape)
    if node.operation == "constant":
        constant = graph.constant(node)
        if constant is None:
            raise Unsupported("Expected constants with known values.")
        return lanes.constant(constant)
    return REGISTRY[node.operation].evaluate(lanes, [values[i] for i in node.arguments], node.attributes)


def _rows(node: Node) -> Laned:
    """The rows of a table at the tokens, of which the last varies."""
    shape = node.type.shape
    _, length, width = shape
    varies = np.zeros(shape, dtype=np.bool_)
    varies[:, length - 1] = True
    box = (slice(0, 1), slice(length - 1, length), slice(0, width))
    return Laned(_unknown(shape), _unknown((1, 1, 1, width)), varies, box)


def _unknown(shape: Sequence[int], zero: NDArray[np.bool_] | None = None) -> Middle:
    """Any numbers, but where they are exact zeros."""
    if zero is None or not zero.any():
        return Middle(np.broadcast_to(1.0, tuple(shape)), np.broadcast_to(inf, tuple(shape)))
    zero = np.broadcast_to(zero, tuple(shape))
    return Middle(np.where(zero, 0.0, 1.0), np.where(zero, 0.0, inf))


class _Unknown(Midpoint):
    """Midpoints of which most are unknown: radii are infinite, and no operation loses its way for it."""

    def power(self, x: Any, exponent: int) -> Any:
        """Any numbers."""
        return x if exponent == 1 else _unknown(x.shape)

    def divide(self, x: Any, y: Any) -> Middle:
        """Any numbers; an exact zero stays one."""
        x = enclosed(x)
        return _unknown(np.broadcast_shapes(x.shape, y.shape), (x.mid == 0) & (x.radius == 0))

    def matmul(self, x: Any, y: Any) -> Middle:
        """Any numbers."""
        return _unknown((*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]))

    def apply(self, name: str, x: Any) -> Middle:
        """Any numbers, and 0 where an exponential is of -inf."""
        return _unknown(x.shape, x.masked if isinstance(x, Middle) else None)

    def shift(self, x: Any, axis: int) -> Any:
        """Any numbers."""
        return _unknown([1 if place == axis else size for place, size in enumerate(x.shape)])
