"""In which arithmetic layers with packed weights run: as they say themselves, and as a product shows."""

from typing import Any

import torch

from numerics.dtypes import name_of
from numerics.formats.layers import effective_weight, in_stated_type, is_packed_layer
from numerics.networks.casting import holds_packed
from sipit.models.refusals import Refusals

_ROWS = 7  # of the input of a trial
_UNITS = 16  # of the type of the states, that products may be off the exact ones


def packed_arithmetic(module: torch.nn.Module, dtype: torch.dtype) -> list[str]:
    """What the packed layers of a model compute, in words; they are made to multiply in the type that they say.

    Called before the first run. A quantiser whose layers are no linear ones of torch is not seen through.

    Args:
        module: the model as the library has loaded it.
        dtype: of the states that the layers are given, where no plain weight beside them says it.
    """
    in_stated_type(module)
    given = type_beside_packed(module) or dtype
    kinds: dict[str, Any] = {}
    for part in module.modules():
        if is_packed_layer(part):
            kinds.setdefault(f"{type(part).__name__}{_said(part)}", part)
    return [f"{kind}{_seen(layer, given)}" for kind, layer in kinds.items()]


def type_beside_packed(module: torch.nn.Module) -> torch.dtype | None:
    """The type of the first plain weight (the embedding's): what packed models run in, since the library casts none."""
    return next((weight.dtype for weight in module.parameters() if not holds_packed(weight)), None)


def _said(layer: Any) -> str:
    """What a layer of bitsandbytes says of itself."""
    if getattr(layer, "compute_dtype", None) is not None:
        return f" multiplies in {name_of(layer.compute_dtype)}"
    state = getattr(layer, "state", None)
    if state is None:
        return ""
    outliers = f", all but columns beyond {state.threshold:g}" if state.threshold else ""
    return f" rounds inputs to 8 bits{outliers}"


def _seen(layer: Any, dtype: torch.dtype) -> str:
    """How far a product lies off that with the weights which the layer holds, where rounding to a type is not all."""
    drawn = torch.randn(1, _ROWS, layer.in_features, generator=torch.Generator().manual_seed(0))
    rows = drawn.to(layer.weight.device, dtype)
    with Refusals(), torch.no_grad():
        exact = rows.double() @ effective_weight(layer).double().T
        bias = 0.0 if layer.bias is None else layer.bias.double()
        off = float((layer(rows).double() - bias - exact).norm() / exact.norm())
        return "" if off <= _UNITS * torch.finfo(dtype).eps else f", products {off:.0e} off those of its weights"
    return ", with weights that are not known"
