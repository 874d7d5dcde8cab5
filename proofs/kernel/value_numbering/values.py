"""A node's value, cut into numbered sub-tensors, and what every rule does with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from proofs.kernel.value_numbering.table import Shape, Table, exactly
from proofs.network.graph import Graph, Node

Numbers: TypeAlias = Any  # an int64 array of the node's rank, of size one along the axes that stay whole


@dataclass(frozen=True, slots=True)
class Value:
    """The numbers of the sub-tensors of a node.

    Attributes:
        numbers: one for every place along the axes that are cut.
        sums_to_one: cut axes along which the entries of every row are known to sum to one.
    """

    numbers: Numbers
    sums_to_one: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class At:
    """A node with the values of its arguments: what a rule is given."""

    table: Table
    graph: Graph
    index: int
    cut: tuple[int, ...]
    arguments: tuple[Value, ...]
    before: Callable[[int], Value]
    whole: Shape  # of a sub-tensor of the result

    @property
    def node(self) -> Node:
        """The node itself."""
        return self.graph.nodes[self.index]

    @property
    def numbers(self) -> list[Numbers]:
        """The numbers of all arguments."""
        return [value.numbers for value in self.arguments]

    @property
    def places(self) -> Shape:
        """How many places there are along every axis of the result: one where it stays whole."""
        return tuple(n if axis in self.cut else 1 for axis, n in enumerate(self.node.type.shape))

    def get(self, name: str) -> Any:
        """An attribute."""
        return self.node.attributes[name]

    def shape(self, position: int = 0) -> Shape:
        """The shape of an argument."""
        return self.graph.nodes[self.node.arguments[position]].type.shape

    def is_cut(self, axis: int, position: int = 0) -> bool:
        """Whether an argument is cut along an axis."""
        return self.arguments[position].numbers.shape[axis] != 1

    def each(self, make: Callable[..., int], *arrays: Numbers) -> Value:
        """A rule for one place at a time, at every place of the result."""
        shape = arrays[0].shape
        if any(array.shape != shape for array in arrays):
            shape = np.broadcast_shapes(*(array.shape for array in arrays))
            arrays = tuple(np.broadcast_to(array, shape) for array in arrays)
        flat = (array.ravel().tolist() for array in arrays)
        return Value(np.array([make(*row) for row in zip(*flat, strict=True)], dtype=np.int64).reshape(shape))


def congruent(at: At, parts: list[Numbers] | None = None) -> Value:
    """The same operation, applied to equal arguments with equal attributes."""
    key = (at.node.operation, *sorted(at.node.attributes.items()))
    return at.each(lambda *numbers: at.table.of(key, *numbers), *(at.numbers if parts is None else parts))


def stacked(table: Table, numbers: Numbers, axes: Sequence[int]) -> Numbers:
    """What is cut along some axes put together again: one number for all places along them, in their order."""
    axes = tuple(axis for axis in axes if numbers.shape[axis] != 1)
    if not axes:
        return numbers
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(numbers.shape))
    sizes = tuple(numbers.shape[axis] for axis in axes)
    found = [
        table.of("stack", axes, sizes, *numbers[_row(place, axes)].ravel().tolist()) for place in np.ndindex(*shape)
    ]
    return np.array(found, dtype=np.int64).reshape(shape)


def mixing(at: At, axes: Sequence[int]) -> Value:
    """An operation that mixes entries along axes: a place of the result reads all of them, in their order."""
    shape = at.places
    parts: list[Numbers] = []
    for numbers in at.numbers:
        lead = len(shape) - numbers.ndim
        part = stacked(at.table, numbers, [axis - lead for axis in axes if axis >= lead])
        parts.append(part[tuple(slice(0, max(n, 1)) for n in shape[lead:])])
    inner = tuple(n if i in axes and i in at.cut else 1 for i, n in enumerate(shape))
    outer = congruent(at, parts=parts).numbers
    if np.prod(inner) == 1:
        return Value(outer)
    place = np.arange(np.prod(inner)).reshape(inner)
    return at.each(lambda n, i: at.table.of("entry", inner, i, n), outer, place)


def _row(place: tuple[int, ...], axes: Sequence[int]) -> tuple[Any, ...]:
    return tuple(slice(None) if axis in axes else i for axis, i in enumerate(place))


def fresh(at: At) -> Value:
    """An unknown operation: nothing is equal to it."""
    numbers = [at.table.fresh() for _ in np.ndindex(*at.places)]
    return Value(np.array(numbers, dtype=np.int64).reshape(at.places))


def leaf(at: At, tokens: Sequence[int]) -> Value:
    """A token by its symbol, a parameter by its name and place, a constant by its entries."""
    node, shape = at.node, at.node.type.shape
    if node.operation == "tokens":
        names = [at.table.of("token", token) for token in tokens]
        return Value(np.array(names, dtype=np.int64).reshape(shape))
    places = list(np.ndindex(*at.places))
    value = at.graph.constant(node) if node.operation == "constant" else None
    if value is not None:
        entries = np.empty(len(value.values), dtype=object)
        entries[:] = [exactly(v) if value.kind == "real" else v for v in value.values]
        entries = np.broadcast_to(entries.reshape(()), shape) if entries.size == 1 else entries.reshape(shape)
        parts = (entries[tuple(i if a in at.cut else slice(None) for a, i in enumerate(place))] for place in places)
        numbers = [at.table.constant(value.kind, at.whole, _entries(part)) for part in parts]
    else:
        known_by = (
            node.attributes["name"] if node.operation == "parameter" else (at.table.number_of(at.graph), at.index)
        )
        name = (node.operation, known_by)
        numbers = [at.table.of(*name, shape, at.cut, place) for place in places]
    return Value(np.array(numbers, dtype=np.int64).reshape(at.places))


def _entries(part: Any) -> tuple[Any, ...]:
    return tuple(part.ravel().tolist()) if isinstance(part, np.ndarray) else (part,)
