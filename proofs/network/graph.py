"""The captured network as plain data: which operation, on what, of which shape, written where.

A graph is a list of nodes in the order of evaluation; an argument is the index of an earlier node. Everything in it
is exact: integers, Fractions and dyadic constants. It knows nothing of torch, so that a claim about it can be
written to a file and checked anywhere.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from proofs.errors import InvalidInput
from proofs.network.folding import folded, unfolded
from proofs.network.rational import rational

Kind = Literal["real", "integer", "boolean"]
Number = Fraction | int | bool | float  # a float only as -inf (an ideal mask) or +inf
Attribute = int | bool | str | Fraction | None | tuple["Attribute", ...]

LARGEST_AXIS = 2**31
LARGEST_TENSOR = 2**45  # entries; some 35 * 10^12, above any model there is
LARGEST_RANK = 16  # axes of a tensor, and attributes of a node
LEAVES = ("tokens", "parameter", "constant")


@dataclass(frozen=True, slots=True)
class TensorType:
    """The shape of a value, and whether its entries are real numbers, integers or truth values."""

    shape: tuple[int, ...]
    kind: Kind = "real"

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor with known entries, in row-major order; one entry stands for all where they are equal."""

    shape: tuple[int, ...]
    kind: Kind
    values: tuple[Number, ...]

    def entries(self) -> tuple[Number, ...]:
        """All entries, row-major."""
        size = math.prod(self.shape)
        return self.values * size if len(self.values) == 1 else self.values

    def to_json(self) -> dict[str, Any]:
        """The constant as a JSON object; every number is written exactly."""
        return {"shape": list(self.shape), "kind": self.kind, "values": [_number_to_json(v) for v in self.values]}

    @classmethod
    def from_json(cls, data: Any) -> "Constant":
        """The constant in a JSON object.

        Raises:
            InvalidInput: a field is missing or of the wrong type, the count does not fit the shape, or an entry is
                not of the constant's kind.
        """
        shape, kind = _shape(_get(data, "shape", list)), _kind(_get(data, "kind", str))
        values = tuple(_number_from_json(v, kind) for v in _get(data, "values", list))
        if len(values) not in (1, math.prod(shape)):
            raise InvalidInput(
                f"Expected one entry or {math.prod(shape)} of them, but got {len(values)}; the file is damaged."
            )
        return cls(shape, kind, values)


@dataclass(frozen=True, slots=True)
class Node:
    """One application of an operation: arguments are indices of earlier nodes, `module` and `source` say where."""

    operation: str
    arguments: tuple[int, ...]
    attributes: Mapping[str, Attribute]
    type: TensorType
    module: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A captured network from tokens and parameters to one tensor of states, shape (1, length, width).

    Attributes:
        nodes: in the order of evaluation.
        constants: the values that `constant` nodes name by index.
        output: index of the node that is the result.
        layer: the number of blocks that were passed (0: embeddings alone).
        about: facts of the capture (architecture, attention implementation, depth, sizes), for records.
        idealisations: how the graph differs from the library's floating-point code, one sentence each.
    """

    nodes: tuple[Node, ...]
    constants: tuple[Constant, ...]
    output: int
    layer: int
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    idealisations: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The number of tokens it was captured for, or 0 where no token enters."""
        for node in self.nodes:
            if node.operation == "tokens":
                return node.type.shape[-1]
        return 0

    def parameters(self) -> Iterator[tuple[str, TensorType]]:
        """Name and type of every parameter that the result may depend on."""
        for node in self.nodes:
            if node.operation == "parameter":
                yield str(node.attributes["name"]), node.type

    def constant(self, node: Node) -> Constant | None:
        """The value of a constant node, or None where it is not known."""
        index = node.attributes.get("value")
        return self.constants[index] if isinstance(index, int) else None

    def where(self, index: int) -> str:
        """Node `index` in words, for messages."""
        node = self.nodes[index]
        place = f" in {node.module}" if node.module else ""
        return f"node {index} ({node.operation}){place}"

    def to_json(self) -> dict[str, Any]:
        """The graph as a JSON object. Equal attribute sets, types, modules and lines are written once, and so are
        repeated layers (`proofs.network.folding`).
        """
        table = _Table()
        rows = [
            [
                node.operation,
                list(node.arguments),
                table.index("attributes", {k: _attribute_to_json(v) for k, v in node.attributes.items()}),
                table.index("types", [list(node.type.shape), node.type.kind]),
                table.index("places", [node.module, node.source]),
            ]
            for node in self.nodes
        ]
        written = {
            "nodes": rows,
            "constants": [constant.to_json() for constant in self.constants],
            "output": self.output,
            "layer": self.layer,
            "about": dict(self.about),
            "idealisations": list(self.idealisations),
            **table.columns,
        }
        return folded(written)

    @classmethod
    def from_json(cls, data: Any) -> "Graph":
        """The graph in a JSON object; every index and type is checked, nothing is run.

        Raises:
            InvalidInput: a field is missing or of the wrong type, an argument is not an earlier node, or leaves
                contradict each other.
        """
        data = unfolded(data)
        attributes = [_attributes_from_json(row) for row in _get(data, "attributes", list)]
        types = [_type_from_json(row) for row in _get(data, "types", list)]
        places = [_place_from_json(row) for row in _get(data, "places", list)]
        constants = tuple(Constant.from_json(row) for row in _get(data, "constants", list))
        nodes: list[Node] = []
        for row in _get(data, "nodes", list):
            if not (isinstance(row, list) and len(row) == 5 and isinstance(row[0], str) and isinstance(row[1], list)):
                raise InvalidInput("Expected a node of five fields, but got something else; the file is damaged.")
            arguments = tuple(_index(argument, len(nodes)) for argument in row[1])
            module, source = places[_index(row[4], len(places))]
            nodes.append(
                Node(
                    row[0],
                    arguments,
                    attributes[_index(row[2], len(attributes))],
                    types[_index(row[3], len(types))],
                    module,
                    source,
                )
            )
            if row[0] == "constant":
                _holds(len(nodes) - 1, nodes[-1], constants)
        _agree(nodes)
        layer = _get(data, "layer", int)
        if layer < 0:
            raise InvalidInput(f"Expected a number of blocks as the layer, but got {layer}; the file is damaged.")
        return cls(
            nodes=tuple(nodes),
            constants=constants,
            output=_index(_get(data, "output", int), len(nodes)),
            layer=layer,
            about=_get(data, "about", dict),
            idealisations=tuple(str(line) for line in _get(data, "idealisations", list)),
        )


class _Table:
    """Values written once and named by their place in a column."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {"attributes": [], "types": [], "places": []}
        self._seen: dict[tuple[str, str], int] = {}

    def index(self, column: str, value: Any) -> int:
        key = (column, repr(value))
        if key not in self._seen:
            self._seen[key] = len(self.columns[column])
            self.columns[column].append(value)
        return self._seen[key]


def _holds(index: int, node: Node, constants: tuple[Constant, ...]) -> None:
    """A constant with known entries is of the shape and the kind that its node says."""
    value = node.attributes.get("value")
    if value is None:
        return
    known = constants[_index(value, len(constants))]
    if TensorType(known.shape, known.kind) != node.type:
        raise InvalidInput(
            f"Expected node {index} (constant) to be of the kind and shape of its value, {known.kind} {known.shape}, "
            f"but got {node.type.kind} {node.type.shape}; the file is damaged."
        )


def _agree(nodes: list[Node]) -> None:
    """One prompt is read, by whichever node, and every parameter stands once, under a text: True and 1 are one key."""
    names = [node.attributes.get("name") for node in nodes if node.operation == "parameter"]
    if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(
            "Expected every parameter once, under a name, but one has none or stands twice; the file is damaged."
        )
    prompts = {
        (node.type.shape, repr(node.attributes.get("vocabulary"))) for node in nodes if node.operation == "tokens"
    }
    if len(prompts) > 1 or any(len(shape) != 2 or shape[0] != 1 for shape, _ in prompts):
        raise InvalidInput("Expected tokens of one shape (1, length), but got others; the file is damaged.")


def _number_to_json(value: Number) -> Any:
    if isinstance(value, float):
        if not math.isinf(value):
            raise InvalidInput(f"Expected an exact constant or an infinity, but got {value}; give a rational.")
        return "-inf" if value < 0 else "inf"
    return str(value) if isinstance(value, Fraction) else value


def _number_from_json(value: Any, kind: Kind) -> Number:
    if kind == "real" and isinstance(value, str):
        return float(value) if value in ("-inf", "inf") else rational(value)
    if isinstance(value, bool) == (kind == "boolean") and isinstance(value, int):
        return value
    raise InvalidInput(f"Expected a constant of kind {kind}, but it holds {str(value)[:40]}; the file is damaged.")


def _attribute_to_json(value: Attribute) -> Any:
    if isinstance(value, tuple):
        return [_attribute_to_json(v) for v in value]
    return {"exact": str(value)} if isinstance(value, Fraction) else value


def _attributes_from_json(row: Any) -> dict[str, Attribute]:
    if len(_is(row, dict)) > LARGEST_RANK:
        raise InvalidInput(f"Expected at most {LARGEST_RANK} attributes, but got {len(row)}; the file is damaged.")
    return {name: _attribute_from_json(value) for name, value in row.items()}


def _attribute_from_json(value: Any) -> Attribute:
    if isinstance(value, list) and len(value) <= LARGEST_RANK and not any(isinstance(v, list) for v in value):
        return tuple(_attribute_from_json(v) for v in value)
    if isinstance(value, dict):
        return rational(value.get("exact"))
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InvalidInput(f"Expected an exact attribute, but got {str(value)[:60]}; a float or a long list is not one.")


def _get(data: Any, name: str, kind: type) -> Any:
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidInput(
            f"Expected a graph with the field {name!r}, but it is missing or of the wrong type; the file is damaged."
        )
    return value


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InvalidInput(f"Expected {kind.__name__}, but got {type(value).__name__}; the file is damaged.")
    return value


def _index(value: Any, size: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < size:
        raise InvalidInput(f"Expected an index below {size}, but got {value!r}; arguments must be earlier nodes.")
    return value


def _shape(value: list[Any]) -> tuple[int, ...]:
    if len(value) > LARGEST_RANK or any(isinstance(n, bool) or not isinstance(n, int) for n in value):
        raise InvalidInput(f"Expected a shape of integers, but got {str(value)[:60]}; the file is damaged.")
    shape = tuple(value)
    if any(not 0 <= n <= LARGEST_AXIS for n in shape) or math.prod(shape) > LARGEST_TENSOR:
        raise InvalidInput(f"Expected a shape of at most {LARGEST_TENSOR} entries, but got {shape}; use smaller ones.")
    return shape


def _kind(value: str) -> Kind:
    if value not in ("real", "integer", "boolean"):
        raise InvalidInput(f"Expected the kind real, integer or boolean, but got {value!r}; the file is damaged.")
    return value


def _type_from_json(row: Any) -> TensorType:
    if not isinstance(row, list) or len(row) != 2:
        raise InvalidInput("Expected a type of shape and kind, but got something else; the file is damaged.")
    return TensorType(_shape(_is(row[0], list)), _kind(_is(row[1], str)))


def _place_from_json(row: Any) -> tuple[str, str]:
    if not isinstance(row, list) or len(row) != 2:
        raise InvalidInput("Expected a place of module and source, but got something else; the file is damaged.")
    return _is(row[0], str), _is(row[1], str)
