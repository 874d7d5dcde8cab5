"""From torch's exported operators to the operations of `proofs.Graph`.

Everything that depends on no parameter and no token is computed on the CPU where that is exact (integers, masks,
data movement, sums and products that double precision holds exactly); the rest becomes nodes. An operator without a
rule becomes a node of its own name, which no lemma knows, so that the graph is unproved: nothing is guessed.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import Attribute, Constant, Graph, Kind, Node, TensorType
from proofs.operations import REGISTRY

MASK = "ideal mask: the lowest float of the library's additive masks stands for -inf"
CASTS = "casts between float types are the identity"
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


@dataclass(slots=True)
class Builder:
    """A graph under construction; equal nodes are made once."""

    place: Place = field(default_factory=Place)
    nodes: list[Node] = field(default_factory=list[Node])
    constants: list[Constant] = field(default_factory=list[Constant])
    idealisations: set[str] = field(default_factory=set[str])
    _seen: dict[Any, int] = field(default_factory=dict[Any, int])

    def emit(self, operation: str, arguments: Sequence[Value], **attributes: Attribute) -> Term:
        """A node of a known operation; its type follows from the arguments."""
        indices = tuple(self.index(argument) for argument in arguments)
        types = [self.nodes[i].type for i in indices]
        return self._add(operation, indices, attributes, REGISTRY[operation].type(types, attributes))

    def unknown(self, name: str, arguments: Sequence[Value], types: Sequence[TensorType]) -> list[Term]:
        """Nodes for the results of an operator without a rule."""
        indices = tuple(self.index(argument) for argument in arguments)
        return [self._add(name, indices, {"result": number}, type) for number, type in enumerate(types)]

    def parameter(self, name: str, shape: Sequence[int]) -> Term:
        """A leaf for a named parameter."""
        return self.emit("parameter", (), name=name, shape=tuple(shape), kind="real")

    def unvalued(self, name: str, type: TensorType) -> Term:
        """A constant whose entries are not known."""
        return self.emit("constant", (), name=name, shape=type.shape, kind=type.kind, value=None)

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
            return self.unvalued(f"table at {self.place.source}", type)
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
            self.nodes.append(Node(operation, arguments, attributes, type, self.place.module, self.place.source))
            self._seen[key] = len(self.nodes) - 1
        return Term(self._seen[key])

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


def lower(
    program: torch.export.ExportedProgram, buffers: dict[str, torch.Tensor | None], *, vocabulary: int
) -> tuple[Builder, Value]:
    """The graph of an exported program, and the value of its first output.

    Args:
        program: decomposed; its tensors may be fake or on the meta device.
        buffers: the values of buffers by their full name; None where they are not known.
        vocabulary: the number of token ids; the program's one input is taken to be ids.
    """
    from numerics.graphs.operators.rules import rule_of

    builder = Builder()
    builder.idealisations.add(CASTS)
    environment: dict[Any, Any] = {}
    for fx in program.graph.nodes:
        builder.place = _place(fx)
        if fx.op == "placeholder":
            environment[fx] = _leaf(builder, fx, program, buffers, vocabulary)
        elif fx.op == "call_function":
            environment[fx] = _call(builder, fx, environment, rule_of)
        elif fx.op == "output":  # buffers and parameters that the model sets anew come before what it returns
            kinds = [spec.kind.name for spec in program.graph_signature.output_specs]
            return builder, environment[fx.args[0][kinds.index("USER_OUTPUT")]]
    raise InvalidInput("Expected a program with an output, but got none.")


def _leaf(builder: Builder, fx: Any, program: Any, buffers: dict[str, torch.Tensor | None], vocabulary: int) -> Value:
    value, signature = fx.meta["val"], program.graph_signature
    if fx.name in signature.inputs_to_parameters:
        return builder.parameter(_plain(signature.inputs_to_parameters[fx.name]), value.shape)
    if fx.name in signature.inputs_to_buffers:
        full = signature.inputs_to_buffers[fx.name]
        if full not in signature.non_persistent_buffers and value.is_floating_point():
            return builder.parameter(_plain(full), value.shape)  # a checkpoint may set it to anything
        return _known(builder, _plain(full), value, buffers.get(_plain(full)))
    if fx.name in signature.inputs_to_lifted_tensor_constants:
        return _known(builder, fx.name, value, program.constants[signature.inputs_to_lifted_tensor_constants[fx.name]])
    return builder.emit("tokens", (), shape=tuple(value.shape), kind="integer", vocabulary=vocabulary)


def _known(builder: Builder, name: str, value: Any, known: torch.Tensor | None) -> Value:
    if known is None or known.is_meta:
        return builder.unvalued(name, TensorType(tuple(value.shape), kind_of(value.dtype)))
    known = known.detach().cpu()
    return known.double() if known.dtype.is_floating_point else known


def _call(builder: Builder, fx: Any, environment: dict[Any, Any], rule_of: Callable[[str, bool], Rule | None]) -> Any:
    arguments = _resolve(fx.args, environment)
    keywords = _resolve(fx.kwargs, environment)
    name = operator_name(fx.target)
    if name == "getitem":
        return arguments[0][arguments[1]]
    value = fx.meta.get("val")
    operands = [part for group in (*arguments, *keywords.values()) for part in _parts(group)]
    read = next((part for part in operands if isinstance(part, _Read)), None)
    shapes: list[Any] = [part.shape for part in _parts(value) if isinstance(part, torch.Tensor)]
    if (read and shapes) or any(not isinstance(size, int) for shape in shapes for size in shape):
        reader = read or _Read(name, builder.place)
        raise Unsupported(
            f"Expected sizes that do not depend on what is computed, but aten.{reader.operator} in "
            f"{reader.place.module} ({reader.place.source}) reads one off a tensor; no one graph holds for all weights."
        )
    if read:
        return read
    folded = _fold(fx, name, arguments, keywords, value)
    if folded is not None:
        return folded
    rule = rule_of(name, _complex(value) or any(isinstance(part, Complex) for part in operands))
    try:
        result = NotImplemented if rule is None else rule(builder, value, arguments, keywords)
    except InvalidInput:  # a variant whose arguments no operation takes
        result = NotImplemented
    if result is NotImplemented:
        return _unknown(builder, name, value, operands)
    for part, expected in zip(_parts(result), _parts(value), strict=False):
        wanted = TensorType(tuple(expected.shape), kind_of(expected.dtype))
        for found in [builder.type(v) for v in _halves(part) if v is not None]:
            if found != wanted:
                raise AssertionError(f"the rule for {name} gave {found} where torch has {wanted}")
    return result


@dataclass(frozen=True, slots=True)
class _Read:
    """A Python number that an operator reads off computed data: nothing that tensors depend on may need it."""

    operator: str
    place: Place


def _halves(value: Any) -> list[Any]:
    return [value.real, value.imaginary] if isinstance(value, Complex) else [value]


def operator_name(target: Any) -> str:
    """The operator without namespace and overload: `add` for aten.add.Tensor."""
    name = target.__name__ if not hasattr(target, "name") else target.name().split("::")[-1]
    return name.split(".")[0]


def _unknown(builder: Builder, name: str, value: Any, arguments: Sequence[Any]) -> Any:
    """Nodes that no lemma knows; for an operator without a tensor result (such as an assertion) what it reads."""
    tensors = [part for part in _parts(value) if isinstance(part, torch.Tensor)]
    if not tensors:
        return _Read(name, builder.place)
    parts = [half for argument in arguments for half in _halves(argument)]
    operands = [part for part in parts if isinstance(part, Term | torch.Tensor)]
    types = [TensorType(tuple(int(n) for n in t.shape), kind_of(t.dtype)) for t in tensors]
    terms = builder.unknown(f"aten.{name}", operands, types)
    return terms if isinstance(value, list | tuple) else terms[0]


def _parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _complex(value: Any) -> bool:
    return any(isinstance(part, torch.Tensor) and part.is_complex() for part in _parts(value))


def _resolve(value: Any, environment: dict[Any, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        return environment[value]
    if isinstance(value, list | tuple):
        return [_resolve(part, environment) for part in value]
    if isinstance(value, dict):
        return {key: _resolve(part, environment) for key, part in value.items()}
    return value


# Operators whose float results double precision holds exactly, given exact arguments.
_MOVES = {
    "full", "zeros", "ones", "empty", "full_like", "zeros_like", "ones_like", "scalar_tensor", "arange", "where",
    "masked_fill", "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "permute", "transpose", "t",
    "clone", "alias", "detach", "contiguous", "_to_copy", "to", "slice", "select", "cat", "stack", "index", "embedding",
    "index_select", "gather", "neg", "abs", "tril", "triu", "flip", "lift_fresh_copy", "constant_pad_nd", "repeat",
    "split_with_sizes", "minimum", "maximum", "clamp", "copy", "slice_scatter", "select_scatter", "scatter", "unbind",
    "split", "chunk", "view_copy", "new_full", "new_zeros", "new_ones",
}  # fmt: skip
_WHOLE_NUMBERS = {"cumsum", "sum"}  # exact on floats that hold whole numbers
_EXACT_IF_CHECKED = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}
_LARGEST_CHECKED = 2**14


def _fold(fx: Any, name: str, arguments: Any, keywords: Any, value: Any) -> Any:
    """The result on the CPU where nothing but known constants enters and it is exact, else None."""
    operands = [a for group in (*arguments, *keywords.values()) for a in _parts(group)]
    if value is None or any(isinstance(a, Term | Complex) for a in operands) or _complex(value):
        return None
    floating = any(isinstance(p, torch.Tensor) and p.dtype.is_floating_point for p in _parts(value))
    if name in ("empty", "rand", "randn", "bernoulli", "native_dropout", "rand_like") or "random" in name:
        return None
    if floating and name not in _MOVES and not _exactly(fx, name, arguments):
        return None
    inexact = any(isinstance(a, torch.Tensor) and a.dtype.is_floating_point for a in operands)
    if not floating and inexact and name not in _COMPARISONS:
        return None  # rounding of an inexact float decides an integer: leave it to a lemma
    if "device" in keywords:
        keywords = {**keywords, "device": "cpu"}
    if keywords.get("dtype") is not None and keywords["dtype"].is_floating_point:
        keywords = {**keywords, "dtype": torch.float64}
    with torch.no_grad():
        result = fx.target(*arguments, **keywords)
    return [_double(part) for part in result] if isinstance(result, list | tuple) else _double(result)


_COMPARISONS = {"le", "lt", "ge", "gt", "eq", "ne", "_to_copy", "to", "isneginf", "any", "all", "logical_not"}


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.dtype.is_floating_point else value


def _exactly(fx: Any, name: str, arguments: Any) -> bool:
    """Whether a sum, difference or product of constants is exact in double precision; -inf stays -inf."""
    if name in _WHOLE_NUMBERS:
        return bool((arguments[0] == arguments[0].round()).all() and arguments[0].abs().sum() < 2**53)
    rule = _EXACT_IF_CHECKED.get(name)
    if rule is None or len(arguments) != 2:
        return False
    first, second = (torch.as_tensor(a, dtype=torch.float64) for a in arguments)
    if max(first.numel(), second.numel()) > _LARGEST_CHECKED:
        return False
    result = rule(first, second)
    pairs = zip(*(t.expand_as(result).reshape(-1).tolist() for t in (first, second, result)), strict=True)
    lowest = torch.finfo(torch.float32).min
    return all(
        r == r and (r <= lowest or (abs(r) != float("inf") and rule(Fraction(a), Fraction(b)) == Fraction(r)))
        for a, b, r in set(pairs)
    )


def _place(fx: Any) -> Place:
    stack = fx.meta.get("nn_module_stack") or {}
    module = next(reversed(stack.values()))[0] if stack else ""
    return Place(_plain(module), _source(fx.meta.get("stack_trace") or ""))


def _plain(name: str) -> str:
    """A module or parameter path without the wrapper's own `model`."""
    return "" if name == "model" else name.removeprefix("model.")


def _source(trace: str) -> str:
    """The innermost line of the model's own code: file within its package, and line number."""
    found = re.findall(r'File "([^"]+)", line (\d+)', trace)
    for file, line in reversed(found):
        if "/torch/" not in file:
            return f"{_within_package(file)}:{line}"
    return f"{_within_package(found[-1][0])}:{found[-1][1]}" if found else ""


def _within_package(file: str) -> str:
    return file.rsplit("site-packages/", 1)[-1] if "site-packages/" in file else file.rsplit("/", 1)[-1]
