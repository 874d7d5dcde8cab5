"""What an operation is: one place for its meaning, its lemma, its shape, its bounds and its value.

`facts` proves a class and bounds for the result from those of the arguments; `evaluate` gives the value in any
number system (`proofs.arithmetic.base.Arithmetic`). An operation that is not registered has neither, and a graph
that holds one is unproved.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import Interval
from proofs.errors import InvalidInput
from proofs.network.graph import Attribute, Graph, Node, TensorType
from proofs.regularity import CONSTANT, UNPROVED, Condition, Facts, Regularity

Attributes = Mapping[str, Attribute]
OF_THE_GRAPH = {"parameter": {"name"}, "constant": {"value"}}  # attributes that are looked at when a graph is read


@dataclass(frozen=True, slots=True)
class Application:
    """One node with the facts of all earlier ones."""

    graph: Graph
    index: int
    facts: Sequence[Facts]

    @property
    def node(self) -> Node:
        """The node itself."""
        return self.graph.nodes[self.index]

    def argument(self, position: int) -> Node:
        """The node that is argument number `position`."""
        return self.graph.nodes[self.node.arguments[position]]

    def known(self, position: int = 0) -> Facts:
        """The facts of argument number `position`."""
        return self.facts[self.node.arguments[position]]

    def worst(self) -> Regularity:
        """The least regular class among the arguments."""
        return max((self.facts[i].regularity for i in self.node.arguments), default=CONSTANT)

    def integer(self, name: str) -> int:
        """An attribute that is an integer."""
        return integer(self.node.attributes, name)

    def condition(self, statement: str, holds: bool, reason: str = "") -> Condition:
        """A side condition at this node, discharged or open."""
        return Condition(self.index, statement, holds, reason)


@dataclass(frozen=True, slots=True)
class Proved:
    """What a lemma gives: facts, and the conditions it needed."""

    facts: Facts
    conditions: tuple[Condition, ...] = ()


TypeRule = Callable[[Sequence[TensorType], Attributes], TensorType]
FactRule = Callable[[Application], Proved]
Evaluate = Callable[[Arithmetic, Sequence[Any], Attributes], Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the graph.

    Attributes:
        name: how nodes name it.
        meaning: the formula.
        lemma: where the result is analytic, and why.
        type: shape and kind of the result; raises InvalidInput where the arguments do not fit.
        facts: class and bounds of the result.
        evaluate: the value in a number system.
        masked: whether an argument may hold -inf (a mask) without making the result meaningless.
    """

    name: str
    meaning: str
    lemma: str
    type: TypeRule
    facts: FactRule
    evaluate: Evaluate
    masked: bool = False


class _Asked(dict[str, Attribute]):
    """Attributes of a node, and which of them no rule has asked for."""

    def __init__(self, attributes: Attributes) -> None:
        super().__init__(attributes)
        self.unasked = set(attributes)

    def get(self, name: str, default: Any = None) -> Any:
        self.unasked.discard(name)
        return super().get(name, default)


def typed(operation: Operation, node: Node, arguments: Sequence[TensorType]) -> TensorType:
    """The type that an operation gives a node.

    Raises:
        InvalidInput: the arguments do not fit, or the node has an attribute that the operation does not know.
    """
    attributes = _Asked(node.attributes)
    found = operation.type(arguments, attributes)
    unknown = sorted(attributes.unasked - OF_THE_GRAPH.get(node.operation, set()))
    expect(not unknown, f"attributes that {node.operation} knows, but not {', '.join(unknown)}")
    return found


def prove(operation: Operation, at: Application) -> Proved:
    """The facts of a node, after the checks that hold for every operation."""
    if not operation.masked and any(at.facts[i].excluded is not None for i in at.node.arguments):
        open_condition = at.condition("no masked value (-inf) is read here", False, "a mask reaches the operation")
        return Proved(Facts(UNPROVED), (open_condition,))
    return operation.facts(at)


def unmet(at: Application, *conditions: Condition) -> Proved:
    """The facts where some condition stays open: none."""
    return Proved(Facts(max(UNPROVED, at.worst())), conditions)


def same_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    """The type of the single argument, which must be real."""
    expect(len(types) == 1 and types[0].kind == "real", "one real argument")
    return types[0]


def same_type_with(*rationals: str, optional: Sequence[str] = ()) -> TypeRule:
    """The same for an operation with rational attributes, of which those that are `optional` may be absent."""

    def rule(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
        for name in rationals:
            exact(attributes, name)
        for name in optional:
            optional_exact(attributes, name)
        return same_type(types, attributes)

    return rule


def broadcast_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    """The broadcast of all arguments, which must be of one kind."""
    expect(len(types) >= 1 and len({t.kind for t in types}) == 1, "arguments of one kind")
    return TensorType(broadcast([t.shape for t in types]), types[0].kind)


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape of several: aligned at the end, with axes of size one repeated."""
    rank = max(len(shape) for shape in shapes)
    result = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, start=rank - len(shape)):
            expect(size == 1 or result[axis] in (1, size), f"shapes that broadcast, not {shapes}")
            if size != 1:
                result[axis] = size
    return tuple(result)


def reduced(shape: tuple[int, ...], axes: Sequence[int], keep: bool) -> tuple[int, ...]:
    """The shape after a reduction over `axes`."""
    expect(all(0 <= axis < len(shape) for axis in axes) and len(set(axes)) == len(axes), f"axes of {shape}")
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def expect(holds: bool, what: str) -> None:
    """Raises InvalidInput unless the arguments fit."""
    if not holds:
        raise InvalidInput(f"Expected {what}; the graph is not well formed.")


def integer(attributes: Attributes, name: str) -> int:
    """An integer attribute."""
    value = attributes.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"Expected the attribute {name!r} to be an integer, but got {value!r}.")
    return value


def integers(attributes: Attributes, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple of integers."""
    value = attributes.get(name)
    if not isinstance(value, tuple) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise InvalidInput(f"Expected the attribute {name!r} to be integers, but got {value!r}.")
    return tuple(v for v in value if isinstance(v, int))


def flag(attributes: Attributes, name: str) -> bool:
    """A true-or-false attribute."""
    value = attributes.get(name)
    if not isinstance(value, bool):
        raise InvalidInput(f"Expected the attribute {name!r} to be true or false, but got {value!r}.")
    return value


def exact(attributes: Attributes, name: str) -> Fraction:
    """A rational attribute."""
    value = attributes.get(name)
    if not isinstance(value, Fraction):
        raise InvalidInput(f"Expected the attribute {name!r} to be an exact rational, but got {value!r}.")
    return value


def optional_exact(attributes: Attributes, name: str) -> Fraction | None:
    """A rational attribute that may be absent."""
    return None if attributes.get(name) is None else exact(attributes, name)


def bounded(regularity: Regularity, bounds: Interval) -> Proved:
    """Facts without conditions."""
    return Proved(Facts(regularity, bounds))
