"""Bringing a module into a number format of PyTorch's own, and saying what really was converted.

Every function here is a conversion or makes one: it takes a module, which it changes, and its blocks. Where a device
lacks what a format needs, that is an error and never a silent run in the old format.
"""

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from numerics.dtypes import name_of
from numerics.formats.conversion import Conversion, Convert, converted
from numerics.networks.casting import cast as to_type
from proofs.errors import Unsupported
from proofs.threads import turn


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

    _run_within(module, reduced)
    return Conversion.none("float32")


def emulated(dtype: torch.dtype) -> Convert:
    """Rounds the result of every floating-point operation, clamped to the largest value; computed as before."""
    largest = torch.finfo(dtype).max

    class Rounded(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            fresh = isinstance(result, torch.Tensor) and result.is_floating_point() and not func.is_view
            return result.clamp(-largest, largest).to(dtype).to(result.dtype) if fresh else result

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        done = stored_in(dtype)(module, blocks)
        _run_within(module, Rounded)
        return done

    return convert


def _run_within(module: nn.Module, context: Callable[[], Any]) -> None:
    """Runs the body of a model within a context from now on."""
    whole: Any = module
    body = whole.get_decoder() if hasattr(whole, "get_decoder") else whole
    forward = body.forward

    @functools.wraps(forward)
    def within(*arguments: Any, **named: Any) -> Any:
        with context():
            return forward(*arguments, **named)

    body.forward = within
