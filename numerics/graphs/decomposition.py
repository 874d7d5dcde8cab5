"""An exported program in the operators that have a meaning here, each kind of call worked out once.

`ExportedProgram.run_decompositions` traces the whole program anew, call by call. A network says the same few things in
every block, so that here each distinct call (an operator, its plain arguments, the types of its tensors) is traced by
itself, and what it is made of is put in its place wherever it stands. Programs that write into tensors, or that call
anything but operators, are left to torch.
"""

# pyright: reportPrivateUsage=false
# torch tells by a private name alone whether an operator is written in terms of others.

import operator
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map

# Operators for which one lemma is better than their expansion; they are left whole.
WHOLE = {
    "softmax", "_softmax", "silu", "gelu", "softplus", "log_sigmoid_forward", "logsumexp", "mish", "leaky_relu",
    "hardswish", "hardsigmoid", "hardtanh", "linalg_vector_norm", "scaled_dot_product_attention", "layer_norm",
    "linear", "rms_norm", "matmul", "relu6", "elu", "reshape", "dropout",
}  # fmt: skip
_IMPLICIT = "CompositeImplicitAutograd"


class _Place:
    """Where a tensor stands among the tensors of a call."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"tensor {self.number}"


def decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with every operator but those of `WHOLE` written in torch's core ones; the one given is used up."""
    _register_users(program.graph)
    table = core_operators()
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    composed = [node for node in calls if node.target is not operator.getitem and _composed(node.target, table)]
    pure = all(node.target is operator.getitem or _pure(node.target) for node in calls)
    if not pure or not all(_of_tensors(node) for node in composed):
        return program.run_decompositions(dict(table))
    parts: dict[Any, GraphModule] = {}
    found = [(node, _part(node, table, parts)) for node in composed]
    if any(inner.op == "get_attr" for part in parts.values() for inner in part.graph.nodes):
        return program.run_decompositions(dict(table))
    for node, part in found:
        _put(program.graph, node, part)
    program.graph.eliminate_dead_code()
    return program


def _register_users(graph: Graph) -> None:
    """Enters every user of a node: a program may leave out some, and then they are not given what takes its place.

    Seen with torch 2.13, where a call returns what it was given (a cast to the same type) and that is the output too.
    """
    for node in graph.nodes:
        for used in node.all_input_nodes:
            used.users.setdefault(node)


@cache
def core_operators() -> Mapping[Any, Any]:
    """What each operator is made of, by operator; those of `WHOLE` are not among them."""
    table = torch.export.default_decompositions()
    return MappingProxyType({target: made for target, made in table.items() if _name(target) not in WHOLE})


def _name(target: Any) -> str:
    return target.name().split("::")[-1].split(".")[0]


def _pure(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and not target._schema.is_mutable


def _composed(target: Any, table: Mapping[Any, Any]) -> bool:
    """Whether an operator is made of others, which are to stand in its place."""
    if not isinstance(target, torch._ops.OpOverload) or _name(target) in WHOLE:
        return False
    return target in table or torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), _IMPLICIT)


def _of_tensors(node: Node) -> bool:
    """Whether a call takes and gives tensors, not sizes that are read off one."""
    values = [given.meta.get("val") for given in (node, *node.all_input_nodes)]
    flat = [part for value in values for part in (value if isinstance(value, tuple | list) else (value,))]
    return bool(flat) and all(isinstance(part, torch.Tensor) for part in flat)


def _part(node: Node, table: Mapping[Any, Any], parts: dict[Any, GraphModule]) -> GraphModule:
    """What a call is made of, from its tensors to its results."""
    tensors = node.all_input_nodes
    values = [tensor.meta["val"] for tensor in tensors]
    places = {tensor: _Place(number) for number, tensor in enumerate(tensors)}
    given: Any = map_arg((node.args, node.kwargs), lambda tensor: places[tensor])  # pyright: ignore[reportArgumentType]
    key = (node.target, repr(given), *((v.shape, v.stride(), v.dtype) for v in values))
    if key not in parts:
        target: Any = node.target

        def call(*tensors: torch.Tensor) -> Any:
            arguments, keywords = tree_map(lambda x: tensors[x.number] if isinstance(x, _Place) else x, given)
            return target(*arguments, **keywords)

        with _mode(node):
            parts[key] = make_fx(call, decomposition_table=table)(*values)
    return parts[key]


def _mode(node: Node) -> Any:
    """The mode of the fake tensors among which a call stands."""
    value = node.meta["val"]
    return (value[0] if isinstance(value, tuple | list) else value).fake_mode


def _put(graph: Graph, node: Node, part: GraphModule) -> None:
    """Puts a part in the place of the call that it is made of."""
    inside: dict[Node, Node] = {}
    tensors = iter(node.all_input_nodes)
    result: Any = None
    for inner in part.graph.nodes:
        if inner.op == "placeholder":
            inside[inner] = next(tensors)
        elif inner.op == "call_function":
            with graph.inserting_before(node):
                copy = graph.node_copy(inner, lambda given: inside[given])
            copy.meta = {**node.meta, "val": inner.meta["val"]}
            inside[inner] = copy
        else:
            result = map_arg(inner.args[0], lambda given: inside[given])
    if isinstance(result, Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):
            user.replace_all_uses_with(result[user.args[1]])
            graph.erase_node(user)
    graph.erase_node(node)
