"""A graph under construction: its values, and the nodes and constants that rules add to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

from proofs.errors import InvalidInput
from proofs.network.graph import Attribute, Constant, Graph, Kind, Node, TensorType
from proofs.operations import REGISTRY

MASK = "ideal mask: the lowest float of the library's additive masks stands for -inf"
LARGEST_CONSTANT = 2**24  # entries; a larger one is kept without its values


@dataclass(frozen=True, slots=True)
class Term:
    """A value that is a node of the graph under construction."""

    node: int


Value = Term | torch.Tensor  # a node, or a constant computed on the CPU (floats in double precision)


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex tensor, as its two parts."""

    real: Value
    imaginary: Value


@dataclass(frozen=True, slots=True)
class Place:
    """Where the operator at hand was written."""

    module: str = ""
    source: str = ""


@dataclass(slots=True, eq=False)
class Builder:
    """A graph under construction; equal nodes are made once, and whatever is not known of is equal to nothing else."""

    place: Place = field(default_factory=Place)
    nodes: list[Node] = field(default_factory=list[Node])
    constants: list[Constant] = field(default_factory=list[Constant])
    idealisations: set[str] = field(default_factory=set[str])
    _seen: dict[Any, int] = field(default_factory=dict[Any, int])
    _large: list[tuple[torch.Tensor, Term]] = field(default_factory=list[tuple[torch.Tensor, Term]])

    def emit(self, operation: str, arguments: Sequence[Value], **attributes: Attribute) -> Term:
        """A node of a known operation; its type follows from the arguments."""
        indices = tuple(self.index(argument) for argument in arguments)
        types = [self.nodes[i].type for i in indices]
        return self._add(operation, indices, attributes, REGISTRY[operation].type(types, attributes))

    def unknown(self, name: str, arguments: Sequence[Value], types: Sequence[TensorType]) -> list[Term]:
        """Nodes for the results of an operator without a rule, anew for every call: what is not said may differ."""
        indices = tuple(self.index(argument) for argument in arguments)
        return [self._append(name, indices, {"result": number}, type) for number, type in enumerate(types)]

    def parameter(self, name: str, shape: Sequence[int]) -> Term:
        """A leaf for a named parameter."""
        return self.emit("parameter", (), name=name, shape=tuple(shape), kind="real")

    def unvalued(self, name: str, type: TensorType) -> Term:
        """A constant whose entries are not known: no other one, whatever it is called."""
        return self._append("constant", (), {"name": name, "shape": type.shape, "kind": type.kind, "value": None}, type)

    def index(self, value: Value) -> int:
        """The node of a value; a computed constant becomes one."""
        return value.node if isinstance(value, Term) else self._constant(value).node

    def type(self, value: Value) -> TensorType:
        """Shape and kind of a value."""
        if isinstance(value, Term):
            return self.nodes[value.node].type
        return TensorType(tuple(value.shape), kind_of(value.dtype))

    def _constant(self, value: torch.Tensor) -> Term:
        type = self.type(value)
        if value.numel() > LARGEST_CONSTANT:
            return self._unwritten(value, type)
        flat = value.detach().reshape(-1)
        if flat.numel() > 1 and bool((flat == flat[0]).all()):
            flat = flat[:1]
        values = tuple(self.number(v) for v in flat.tolist())
        constant = Constant(type.shape, type.kind, values)
        key = (constant.shape, constant.kind, values)
        if key not in self._seen:
            self.constants.append(constant)
            self._seen[key] = len(self.constants) - 1
        number = self._seen[key]
        return self._add("constant", (), {"shape": type.shape, "kind": type.kind, "value": number}, type)

    def _unwritten(self, value: torch.Tensor, type: TensorType) -> Term:
        """A constant too large to be kept with its entries; the same entries are one constant."""
        for known, term in self._large:
            if self.type(known) == type and torch.equal(known.to(value.dtype), value):
                return term
        self._large.append((value, self.unvalued(f"table at {self.place.source}", type)))
        return self._large[-1][1]

    def number(self, value: float | int | bool) -> Any:
        """A Python number, exact; the lowest float and anything below it is an ideal mask."""
        if isinstance(value, bool | int):
            return value
        if value != value:
            raise InvalidInput(
                "Expected constants that are numbers, but got NaN; the model computes it from its config."
            )
        if value <= torch.finfo(torch.float32).min:
            self.idealisations.add(MASK)
            return float("-inf")
        return float("inf") if value == float("inf") else Fraction(value)

    def _add(
        self, operation: str, arguments: tuple[int, ...], attributes: dict[str, Attribute], type: TensorType
    ) -> Term:
        key = (operation, arguments, tuple(sorted(attributes.items(), key=lambda item: item[0])), type)
        if key not in self._seen:
            self._seen[key] = self._append(operation, arguments, attributes, type).node
        return Term(self._seen[key])

    def _append(
        self, operation: str, arguments: tuple[int, ...], attributes: dict[str, Attribute], type: TensorType
    ) -> Term:
        self.nodes.append(Node(operation, arguments, attributes, type, self.place.module, self.place.source))
        return Term(len(self.nodes) - 1)

    def finish(self, output: Value, *, layer: int, about: dict[str, Any]) -> Graph:
        """The graph of what the output depends on, renumbered."""
        last = self.index(output)
        needed = {last}
        for i in range(last, -1, -1):
            if i in needed:
                needed.update(self.nodes[i].arguments)
        order = sorted(needed)
        renumbered = {old: new for new, old in enumerate(order)}
        used: dict[int, int] = {}
        nodes: list[Node] = []
        for old in order:
            node = self.nodes[old]
            attributes = dict(node.attributes)
            value = attributes.get("value")
            if node.operation == "constant" and isinstance(value, int):
                attributes["value"] = used.setdefault(value, len(used))
            arguments = tuple(renumbered[i] for i in node.arguments)
            nodes.append(Node(node.operation, arguments, attributes, node.type, node.module, node.source))
        return Graph(
            nodes=tuple(nodes),
            constants=tuple(self.constants[i] for i in used),
            output=renumbered[last],
            layer=layer,
            about=about,
            idealisations=tuple(sorted(self.idealisations)),
        )


def kind_of(dtype: torch.dtype) -> Kind:
    """Whether a dtype holds reals, integers or truth values."""
    if dtype == torch.bool:
        return "boolean"
    return "real" if dtype.is_floating_point or dtype.is_complex else "integer"


Rule = Callable[[Builder, Any, Sequence[Any], dict[str, Any]], Any]


def parts_of(value: Any) -> list[Any]:
    """The tensors of what an operator takes or gives, where it is several."""
    return list(value) if isinstance(value, list | tuple) else [value]


def is_complex(value: Any) -> bool:
    """Whether any tensor of a value of torch is complex."""
    return any(isinstance(part, torch.Tensor) and part.is_complex() for part in parts_of(value))
