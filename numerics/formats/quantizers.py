"""Bringing a module into a number format of PyTorch's own, and saying what really was converted.

Every function here is a conversion or makes one: it takes a module, which it changes, and its blocks. Where a device
lacks what a format needs, that is an error and never a silent run in the old format.
"""

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from numerics.dtypes import name_of
from numerics.formats.conversion import Conversion, Convert, converted
from numerics.networks.casting import cast as to_type
from proofs.errors import Unsupported
from proofs.threads import turn

# Whether a part of a model is running that `_run_within` has wrapped.
_inside: ContextVar[bool] = ContextVar("inside", default=False)


def unchanged(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
    """Leaves the module as it is."""
    return Conversion.none(name_of(next(module.parameters()).dtype))


def computing_in(dtype: torch.dtype) -> Convert:
    """Weights and arithmetic in a floating-point type."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        def cast() -> None:
            to_type(module, dtype)

        return converted(module, blocks, cast, name_of(dtype), rescaled=False)

    return convert


def stored_in(dtype: torch.dtype) -> Convert:
    """Weights rounded to a floating-point type, arithmetic as before."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        def round_all() -> None:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_(parameter.to(dtype).to(parameter.dtype))

        stored = f"{str(dtype).removeprefix('torch.')}, held in float32"
        return converted(module, blocks, round_all, stored, rescaled=False)

    return convert


def tf32(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
    """Matrix products with factors in tf32, on devices that have it."""
    device = next(module.parameters()).device
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise Unsupported(f"Expected a device with tf32, but {device} has none; use a GPU of compute capability 8.")

    @contextmanager
    def reduced() -> Generator[None]:
        with turn:
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before)

    _run_within(module, blocks, reduced)
    return Conversion.none("float32")


def emulated(dtype: torch.dtype) -> Convert:
    """Rounds the result of every floating-point operation, clamped to the largest value; computed as before."""
    largest = torch.finfo(dtype).max

    def rounded(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.clamp(-largest, largest).to(dtype).to(value.dtype) if floats else value

    class Rounded(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = kwargs or {}
            result = func(*args, **named)
            for at, argument in enumerate(func._schema.arguments):
                value = args[at] if at < len(args) else named.get(argument.name)
                if argument.is_write and isinstance(value, torch.Tensor):  # what an operation in place has changed
                    value.copy_(rounded(value))
            made = func._schema.returns
            if isinstance(result, tuple):
                pairs = zip(made, result, strict=True)
                return tuple(rounded(value) if one.alias_info is None else value for one, value in pairs)
            return rounded(result) if made and made[0].alias_info is None else result

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        done = stored_in(dtype)(module, blocks)
        _run_within(module, blocks, Rounded)
        return done

    return convert


def _run_within(module: nn.Module, blocks: Sequence[nn.Module], context: Callable[[], Any]) -> None:
    """Runs a model within a context from now on, whichever part of it is called: whatever holds its blocks, and a head.

    A copy of the model runs its own parts so.
    """
    whole: Any = module
    head = whole.get_output_embeddings() if hasattr(whole, "get_output_embeddings") else None
    holders = [part for part in module.modules() if blocks[0] in part.modules()]
    for part in (*holders, *blocks[1:], *([head] if head is not None else [])):
        forward = part.forward
        part.forward = functools.update_wrapper(functools.partial(_within, context, forward), forward)


def _within(context: Callable[[], Any], forward: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Runs a part within a context, of parts that lie inside one another the outermost."""
    if _inside.get():
        return forward(*arguments, **named)
    before = _inside.set(True)
    try:
        with context():
            return forward(*arguments, **named)
    finally:
        _inside.reset(before)
