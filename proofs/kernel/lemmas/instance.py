"""What a lemma is given, one node with what is established of its arguments, and what it establishes.

A mask is a boolean numpy array of the node's shape (True where the entry is -inf), so that moving it is numpy's
business. Anything that does not fit raises `Rejected` with the reason.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.result import Rejected
from proofs.network.graph import Constant, Graph, Node
from proofs.regularity import CONSTANT, UNPROVED, Regularity

Mask = Any  # a boolean numpy array, or None


Shape = tuple[int, ...]


LARGEST_MASK = 2**28  # entries that the kernel writes out


ZERO, ONE = Fraction(0), Fraction(1)


UNIT = Interval(-ONE, False, ONE, False)


@dataclass(frozen=True, slots=True)
class Line:
    """What is established of one node."""

    regularity: Regularity
    bounds: Interval = EVERYTHING
    mask: Mask = None


OPEN = Line(UNPROVED)


@dataclass(frozen=True, slots=True)
class Instance:
    """One node, with what is established of its arguments."""

    graph: Graph
    node: Node
    lines: tuple[Line, ...]
    nodes: tuple[Node, ...]
    before: Callable[[int], Line]

    def get(self, name: str, kind: type) -> Any:
        """An attribute of the right type."""
        value = self.node.attributes.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Rejected(f"attribute {name!r} of {self.node.operation} is missing or of the wrong type")
        return value

    @property
    def kind(self) -> str:
        """The kind of the first argument."""
        return self.nodes[0].type.kind if self.nodes else "real"

    @property
    def worst(self) -> Regularity:
        """The least regular argument."""
        return max((line.regularity for line in self.lines), default=CONSTANT)

    def at_best(self, regularity: Regularity) -> Regularity:
        """A function of that class, composed with the arguments; of constants it is constant."""
        return CONSTANT if self.worst == CONSTANT else max(self.worst, regularity)

    def shapes(self, *kinds: str) -> list[Shape]:
        """The shapes of the arguments, which must be of these kinds, one each."""
        if len(kinds) != len(self.nodes) or any(
            n.type.kind not in k.split("|") for n, k in zip(self.nodes, kinds, strict=True)
        ):
            raise Rejected(f"{self.node.operation} is applied to the wrong number or kind of arguments")
        return [n.type.shape for n in self.nodes]

    def result(self, shape: Shape, kind: str) -> None:
        """Rejects a node whose declared shape or kind is not the one that follows."""
        if self.node.type.shape != tuple(shape) or self.node.type.kind != kind:
            raise Rejected(f"{self.node.operation} has shape {self.node.type.shape}, but {tuple(shape)} follows")

    def axis(self, shape: Shape, name: str = "axis") -> int:
        """An attribute that names an axis."""
        axis = self.get(name, int)
        if not 0 <= axis < len(shape):
            raise Rejected(f"{self.node.operation} has no axis {axis}")
        return axis


Rule = Callable[[Instance], Line]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise Rejected(f"shapes {shapes} do not fit") from None


def mask_of(step: Instance, position: int) -> Any:
    """The mask of an argument, all False where it has none."""
    found = step.lines[position].mask
    return np.broadcast_to(np.False_ if found is None else found, step.nodes[position].type.shape)


def nonempty(mask: Any) -> Mask:
    """A mask, or None where nothing is excluded."""
    return mask if np.any(mask) else None


def spread(value: Constant, truths: Sequence[Any]) -> Any:
    """Truth values of a constant's entries in its shape; one that stands for all is not written out."""
    if math.prod(value.shape) > LARGEST_MASK:
        raise Rejected("a mask has more entries than can be written out")
    entries = np.array(truths, dtype=np.bool_)
    return np.broadcast_to(entries.reshape(()), value.shape) if entries.size == 1 else entries.reshape(value.shape)


def hull(lines: tuple[Line, ...]) -> Interval:
    """The least interval around all."""
    bounds = lines[0].bounds
    for line in lines[1:]:
        bounds = bounds.hull(line.bounds)
    return bounds
