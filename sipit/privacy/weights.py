"""The weights of two models beside each other: as what is multiplied with, and the types in which they are the same."""

import torch
from torch import nn

from numerics.formats.conversion import effective_weight
from sipit.models import LanguageModel

_FORMATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def dense_weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The parameters of a model by name; packed matrices as what is multiplied with."""
    return {
        f"{path}.{name}": effective_weight(part) if _is_packed(part, value) else value.detach()
        for path, part in model.module.named_modules()
        for name, value in part.named_parameters(recurse=False)
    }


def unpack(module: nn.Module) -> None:
    """Makes the packed matrices of a module ordinary ones, in place."""
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.Linear) and _is_packed(child, child.weight):
                plain = nn.Linear(child.in_features, child.out_features, bias=False, device="meta")
                plain.weight = nn.Parameter(effective_weight(child), requires_grad=False)
                plain.bias = child.bias
                setattr(part, name, plain)


def _is_packed(part: nn.Module, value: torch.Tensor) -> bool:
    return isinstance(part, nn.Linear) and value is part.weight and type(value) is not nn.Parameter


def common_format(first: LanguageModel, second: LanguageModel) -> torch.dtype | None:
    """The most exact type in which all weights of two models are the same; None where there is none.

    Weights are the same in a type where one of the two lies on its numbers and the other at most one step of it away:
    two roundings in a row may end a step apart. Where both lie between its numbers, rounding to it explains nothing.
    """
    ours, theirs = dense_weights(first), dense_weights(second)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return None
    half = torch.float16 in (first.dtype, second.dtype)
    # The step of float16 at its smallest numbers, which weights that were computed or stored in it are apart.
    least = {dtype: 2.0**-24 if half or dtype is torch.float16 else 0.0 for dtype in _FORMATS}
    possible = list(_FORMATS)
    for name, one in ours.items():
        if one.dtype == theirs[name].dtype and torch.equal(one.cpu(), theirs[name].cpu()):
            continue
        a, b = one.cpu().double(), theirs[name].cpu().double()
        if torch.equal(a, b):
            continue
        apart, size = (a - b).abs(), torch.maximum(a.abs(), b.abs())
        possible = [
            dtype
            for dtype in possible
            if dtype is not torch.float64
            and bool((apart <= torch.finfo(dtype).eps * size + least[dtype]).all())
            and any(torch.equal(one.to(dtype).double(), one) for one in (a, b))
        ]
    return possible[0] if possible else None


def rounds_alike(first: LanguageModel, second: LanguageModel, dtype: torch.dtype) -> bool:
    """Whether all weights of two models that have them by the same names are equal once rounded to a type.

    So are tables that no checkpoint has, or they are more than one step of that type apart: that is a difference of the
    networks, while one step comes of rounding twice.
    """
    theirs = dense_weights(second)
    weights = all(
        torch.equal(one.cpu().to(dtype), theirs[name].cpu().to(dtype)) for name, one in dense_weights(first).items()
    )
    tables = dict(second.module.named_buffers())
    return weights and not any(
        _rounded_twice(one.cpu().to(dtype), tables[name].cpu().to(dtype))
        for name, one in first.module.named_buffers()
        if name in tables and one.is_floating_point() and one.shape == tables[name].shape
    )


def _rounded_twice(one: torch.Tensor, other: torch.Tensor) -> bool:
    return not torch.equal(one, other) and bool(near(one.double(), other.double(), torch.finfo(one.dtype).eps).all())


def near(one: torch.Tensor, other: torch.Tensor, step: float) -> torch.Tensor:
    """Where two tensors are at most so much of the larger value apart, a mask."""
    return (one - other).abs() <= step * torch.maximum(one.abs(), other.abs())
