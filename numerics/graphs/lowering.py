"""From torch's exported operators to the operations of `proofs.Graph`.

Everything that depends on no parameter and no token is computed on the CPU where that is exact (integers, masks,
data movement, sums and products that double precision holds exactly); the rest becomes nodes. An operator without a
rule becomes a node of its own name, which no lemma knows, so that the graph is unproved: nothing is guessed.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from numerics.graphs.buffers import Buffers
from numerics.graphs.builder import Builder, Complex, Place, Term, Value, is_complex, kind_of, parts_of
from numerics.graphs.exact_folding import fold
from numerics.graphs.half_constants import HalfConstants
from numerics.graphs.operators.rules import rule_of
from numerics.graphs.operators.whole_numbers import wraps
from proofs.errors import InvalidInput, Unsupported, short_of_memory
from proofs.network.graph import TensorType

CASTS = "casts between float types are the identity"
COMPUTED = "buffers that the class computes are as it does, whatever a checkpoint holds for them"
MEANINGLESS = {  # over the reals, of keywords
    "dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "stable", "implicit", "sparse_grad",
}  # fmt: skip


def lower(program: torch.export.ExportedProgram, buffers: Buffers, *, vocabulary: int) -> tuple[Builder, Value]:
    """The graph of an exported program, and the value of its first output.

    Args:
        program: decomposed; its tensors may be fake or on the meta device.
        buffers: of the module that was exported; one that it sets anew is free too.
        vocabulary: the number of token ids; the program's one input is taken to be ids.
    """
    builder = Builder()
    builder.idealisations.add(CASTS)
    environment: dict[Any, Any] = {}
    rounded = HalfConstants(lambda fx: _constant(fx, program, buffers))
    for fx in program.graph.nodes:
        builder.place = _place(fx)
        if fx.op == "placeholder":
            environment[fx] = _leaf(builder, fx, program, buffers, vocabulary)
        elif fx.op == "call_function":
            known = _tried(partial(rounded.value, fx), NotImplemented)
            if known is NotImplemented:  # constants alone, but torch does not say how it rounds them
                known = _unknown(builder, operator_name(fx.target), fx.meta["val"], [])
            environment[fx] = _call(builder, fx, environment) if known is None else known
        elif fx.op == "output":  # buffers and parameters that the model sets anew come before what it returns
            kinds = [spec.kind.name for spec in program.graph_signature.output_specs]
            return builder, environment[fx.args[0][kinds.index("USER_OUTPUT")]]
    raise InvalidInput("Expected a program with an output, but got none.")


def _leaf(builder: Builder, fx: Any, program: Any, buffers: Buffers, vocabulary: int) -> Value:
    value, signature = fx.meta["val"], program.graph_signature
    if fx.name in signature.inputs_to_parameters:
        return builder.parameter(_plain(signature.inputs_to_parameters[fx.name]), value.shape)
    buffer = _plain(signature.inputs_to_buffers.get(fx.name, ""))
    if _free(fx, program, buffers):
        return builder.parameter(buffer, value.shape)
    if buffer in buffers.assumed:
        builder.idealisations.add(COMPUTED)
    if buffer or fx.name in signature.inputs_to_lifted_tensor_constants:
        known = _constant(fx, program, buffers)
        if known is None:
            return builder.unvalued(buffer or fx.name, TensorType(tuple(value.shape), kind_of(value.dtype)))
        return known.double() if known.dtype.is_floating_point else known
    return builder.emit("tokens", (), shape=tuple(value.shape), kind="integer", vocabulary=vocabulary)


def _free(fx: Any, program: Any, buffers: Buffers) -> bool:
    """Whether an input is a buffer of real numbers that the checkpoint or the run decides."""
    full = program.graph_signature.inputs_to_buffers.get(fx.name, "")
    return fx.meta["val"].is_floating_point() and (_plain(full) in buffers.free or _is_set_anew(fx, program))


def _is_set_anew(fx: Any, program: Any) -> bool:
    """Whether an input is a buffer that the run writes to: what it holds depends on the runs before."""
    signature = program.graph_signature
    return signature.inputs_to_buffers.get(fx.name) in signature.buffers_to_mutate.values()


def _constant(fx: Any, program: Any, buffers: Buffers) -> torch.Tensor | None:
    """The entries of an input that is the same for every checkpoint and prompt; None where they are not known."""
    signature = program.graph_signature
    if _free(fx, program, buffers) or _is_set_anew(fx, program):
        return None
    if fx.name in signature.inputs_to_buffers:
        known = buffers.values.get(_plain(signature.inputs_to_buffers[fx.name]))
    else:
        known = program.constants.get(signature.inputs_to_lifted_tensor_constants.get(fx.name))
    return None if known is None or known.is_meta else known.detach().cpu()


def _call(builder: Builder, fx: Any, environment: dict[Any, Any]) -> Any:
    arguments = _resolve(fx.args, environment)
    keywords = _resolve(fx.kwargs, environment)
    name = operator_name(fx.target)
    if name == "getitem":
        return arguments[0][arguments[1]]
    value = fx.meta.get("val")
    operands = [part for group in (*arguments, *keywords.values()) for part in parts_of(group)]
    read = next((part for part in operands if isinstance(part, _Read)), None)
    shapes: list[Any] = [part.shape for part in parts_of(value) if isinstance(part, torch.Tensor)]
    if (read and shapes) or any(not isinstance(size, int) for shape in shapes for size in shape):
        reader = read or _Read(name, builder.place)
        raise Unsupported(
            f"Expected sizes that do not depend on what is computed, but aten.{reader.operator} in "
            f"{reader.place.module} ({reader.place.source}) reads one off a tensor; no one graph holds for all weights."
        )
    if read:
        return read
    folded = _tried(lambda: fold(fx, name, arguments, keywords, value), None)
    if folded is not None:
        return folded
    given = _Given(keywords)

    def by_rule() -> Any:
        of_complex = is_complex(value) or any(isinstance(part, Complex) for part in operands)
        rule = None if wraps(builder, fx, name) else rule_of(name, of_complex)
        result = NotImplemented if rule is None else rule(builder, value, arguments, given)
        known = result is not NotImplemented and given.keys() <= given.read | MEANINGLESS
        return result if known and _fits(builder, result, value) else NotImplemented

    result = _tried(by_rule, NotImplemented)
    return _unknown(builder, name, value, operands) if result is NotImplemented else result


def _tried(compute: Callable[[], Any], otherwise: Any) -> Any:
    """What is computed; something else where a call is like none that was thought of, with whatever exception."""
    try:
        return compute()
    except Exception as error:
        if short_of_memory(error):
            raise
        return otherwise


class _Given(dict[str, Any]):
    """Keywords that tell which of them a rule asked for: an operator called with another one is another operator."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        super().__init__(keywords)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """What was given, or the default."""
        self.read.add(name)
        return super().get(name, default)


def _fits(builder: Builder, result: Any, value: Any) -> bool:
    """Whether what a rule gave has the shapes and kinds that torch has."""
    for part, expected in zip(parts_of(result), parts_of(value), strict=False):
        wanted = TensorType(tuple(expected.shape), kind_of(expected.dtype))
        if any(builder.type(v) != wanted for v in _halves(part) if v is not None):
            return False
    return True


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
    tensors = [part for part in parts_of(value) if isinstance(part, torch.Tensor)]
    if not tensors:
        return _Read(name, builder.place)
    parts = [half for argument in arguments for half in _halves(argument)]
    operands = [part for part in parts if isinstance(part, Term | torch.Tensor)]
    types = [TensorType(tuple(int(n) for n in t.shape), kind_of(t.dtype)) for t in tensors]
    terms = builder.unknown(f"aten.{name}", operands, types)
    return terms if isinstance(value, list | tuple) else terms[0]


def _resolve(value: Any, environment: dict[Any, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        return environment[value]
    if isinstance(value, list | tuple):
        return [_resolve(part, environment) for part in value]
    if isinstance(value, dict):
        return {key: _resolve(part, environment) for key, part in value.items()}
    return value


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
    """A file as it lies below the folder that it was imported from."""
    roots = [root for path in sys.path if path and file.startswith(root := path.rstrip("/") + "/")]
    return file.removeprefix(max(roots, key=len)) if roots else file.rsplit("/", 1)[-1]
