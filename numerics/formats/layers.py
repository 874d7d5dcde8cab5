"""Layers whose matrices a library packs: what each multiplies with, how it computes, and how one layer takes another's
place."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from numerics.dtypes import name_of
from numerics.networks.casting import holds_packed
from proofs.errors import Unsupported

_KERNEL = "support_avx512bf16_for_cpu"  # by which bitsandbytes computes in bfloat16 whatever type it was given


def effective_weight(linear: Any) -> torch.Tensor:
    """The matrix that a layer multiplies with, shape (out, in), in float32: dequantised by its own library.

    Where a layer multiplies in a type of its own, it is rounded to that.

    Raises:
        Unsupported: as for `stored_weight`.
    """
    return _dequantised(linear, getattr(linear, "compute_dtype", None) or torch.float32)


def stored_weight(linear: Any) -> torch.Tensor:
    """The matrix that a layer holds, shape (out, in), dequantised in float32, whatever the layer multiplies in.

    Raises:
        Unsupported: a kernel has repacked and rounded it, so that what was stored is not there any more; or it is held
            in no class that unpacks it.
    """
    return _dequantised(linear, torch.float32)


def _dequantised(linear: Any, dtype: torch.dtype) -> torch.Tensor:
    weight: Any = linear.weight
    if type(weight).__name__ == "Params4bit":
        import bitsandbytes.functional as functional

        if getattr(weight.quant_state, "packing_format_for_cpu", False):
            raise Unsupported(
                "Expected 4-bit weights as they were stored, but bitsandbytes has rewritten them for its bfloat16 "
                "kernel; load the model with sipit.load_model, which leaves them."
            )
        state = copy.copy(weight.quant_state)
        state.dtype = dtype  # and not that of what was quantised
        return functional.dequantize_4bit(weight.data, state).float()
    if type(weight).__name__ == "Int8Params":
        scales = weight.SCB if weight.SCB is not None else linear.state.SCB
        return weight.data.float() * scales.float()[:, None] / 127
    if type(weight) is nn.Parameter and holds_packed(weight):
        raise Unsupported(
            f"Expected a matrix that its library unpacks, but got bare numbers in {name_of(weight.dtype)}, whose "
            "scales lie elsewhere; dequantise the model, and save it again."
        )
    return (weight.dequantize() if hasattr(weight, "tensor_data_names") else weight.detach()).float()


def is_packed_layer(layer: nn.Module) -> bool:
    """Whether a linear layer holds a matrix, and that packed; where the numbers have other names, it has no matrix."""
    held = dict(layer.named_parameters(recurse=False)).get("weight")
    return isinstance(layer, nn.Linear) and held is not None and holds_packed(held)


def layers_of(parts: Sequence[nn.Module], wanted: Callable[[nn.Module], bool]) -> list[tuple[nn.Module, str, Any]]:
    """Layers with the module that holds them and their names in it, listed before any is replaced."""
    return [
        (holder, name, child)
        for part in parts
        for holder in part.modules()
        for name, child in holder.named_children()
        if wanted(child)
    ]


def put_in_place(holder: nn.Module, name: str, layer: nn.Module) -> None:
    """Replaces a layer by one in the same mode: in training some compute otherwise."""
    setattr(holder, name, layer.train(getattr(holder, name).training))


def multiplied_in(module: nn.Module) -> set[torch.dtype]:
    """The types that packed layers name as those which they multiply in, whatever they are given."""
    named = (getattr(part, "compute_dtype", None) for part in module.modules() if is_packed_layer(part))
    return {dtype for dtype in named if dtype is not None}


def as_plain(layer: Any, weight: torch.Tensor) -> nn.Linear:
    """An ordinary layer that multiplies with a matrix in the place of a packed one."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.bias = layer.bias
    return plain


def in_stated_type(module: nn.Module) -> None:
    """Lets packed layers multiply in the type that they were given; before their first run.

    On processors that multiply bfloat16 the 4-bit layers of bitsandbytes would do that for float32 too, and rewrite
    their weights for it.
    """
    for part in module.modules():
        if hasattr(part, _KERNEL):
            setattr(part, _KERNEL, False)
