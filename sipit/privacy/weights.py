"""The weights of two models beside each other: as they are stored, and the types in which they are the same."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from numerics.formats.layers import as_plain, is_packed_layer, layers_of, put_in_place, stored_weight
from numerics.grids import float_steps
from numerics.networks.casting import COMPUTED_IN, holds_packed
from sipit.models import LanguageModel


def dense_weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The parameters of a model by name: packed matrices as they are stored, where their class tells that.

    Else they are numbers as they lie, of which nothing is known but whether they are equal.
    """
    return {
        f"{path}.{name}": stored_weight(part) if name == "weight" and _is_told(part) else value.detach()
        for path, part in model.module.named_modules()
        for name, value in part.named_parameters(recurse=False)
    }


def _is_told(part: nn.Module) -> bool:
    """Whether the matrix of a layer is packed, in a class that unpacks it."""
    return is_packed_layer(part) and type(part.weight) is not nn.Parameter


def are_weights(*tensors: torch.Tensor) -> bool:
    """Whether tensors hold numbers that layers compute with; packed ones, where not equal, have nothing in common."""
    return all(tensor.dtype in COMPUTED_IN for tensor in tensors)


def unpack(module: nn.Module, dtype: torch.dtype) -> None:
    """Makes the packed matrices of a module ordinary ones of a type, in place.

    Where nothing packed is left, the module says so of itself no longer. A quantiser may keep numbers in buffers: where
    one that is stored is of a type that no layer computes in, what the module says stays.

    Raises:
        Unsupported: as for `stored_weight`.
    """
    for holder, name, layer in layers_of([module], is_packed_layer):
        put_in_place(holder, name, as_plain(layer, stored_weight(layer).to(dtype)))
    if are_weights(*module.state_dict().values()) and not any(map(holds_packed, module.parameters())):
        for part in module.modules():
            quantiser: Any = getattr(part, "hf_quantizer", None)
            if quantiser is not None:
                quantiser.remove_quantization_config(part)  # by which the library refuses casts


@dataclass(frozen=True, slots=True)
class Common:
    """A type in which the weights of two models are the same.

    `sure` says that each pair of them is shown to be two roundings of one weight. Otherwise some, both numbers of that
    type, lie a step of it apart: so do weights of which one was rounded twice, and so do other weights.
    """

    dtype: torch.dtype
    sure: bool


def common_format(first: LanguageModel, second: LanguageModel) -> Common | None:
    """The most exact type in which all weights of two models are the same; None where there is none."""
    ours, theirs = dense_weights(first), dense_weights(second)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return None
    possible = [Common(dtype, sure=True) for dtype in COMPUTED_IN]
    for name, one in ours.items():
        if one.dtype == theirs[name].dtype and torch.equal(one.cpu(), theirs[name].cpu()):
            continue
        a, b = one.cpu().double(), theirs[name].cpu().double()
        if torch.equal(a, b):
            continue
        if not are_weights(one, theirs[name]):
            return None
        kept: list[Common] = []
        for found in possible:
            if of_one_weight(a, b, found.dtype):
                kept.append(found)
            elif a_step_apart(a, b, found.dtype):
                kept.append(replace(found, sure=False))
        possible = kept
    return next((one for one in possible if one.sure), possible[0] if possible else None)


def of_one_weight(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors in float64 are roundings of the same weights, of which one was rounded to a type.

    The other may be those weights, or what a finer type keeps of them. Rounding is to the nearest, in one go or by way
    of a finer type: float32, float16 and then bfloat16 is another number than float32 and then bfloat16, now and then.
    """
    return _rounded(one, other, dtype) or _rounded(other, one, dtype)


def _rounded(weight: torch.Tensor, rounded: torch.Tensor, dtype: torch.dtype) -> bool:
    finer = [each for each in COMPUTED_IN if torch.finfo(each).eps < torch.finfo(dtype).eps]
    kept = [each for each in finer if torch.equal(_through(weight, (each,)), weight)]
    if not kept:
        return False
    # What the coarsest type that has these numbers may have been given: up to half a step away. Rounding keeps order,
    # so that the numbers between what it makes of the two ends are all that it makes of anything between them.
    half = 0.0 if kept[-1] is torch.float64 else float_steps(weight, kept[-1]) / 2
    ways = [(dtype,), *((each, dtype) for each in finer), *((dtype, each) for each in finer)]
    return any(
        torch.equal(_through(rounded, way), rounded)
        and bool(((_through(weight - half, way) <= rounded) & (rounded <= _through(weight + half, way))).all())
        for way in ways
    )


def _through(values: torch.Tensor, way: tuple[torch.dtype, ...]) -> torch.Tensor:
    """What is left of values in float64 after they were held in one type after the other."""
    for dtype in way:
        values = values.to(dtype)
    return values.double()


def a_step_apart(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors in float64 hold numbers of a type that are at most a step of it apart."""
    held = all(torch.equal(_through(each, (dtype,)), each) for each in (one, other))
    return held and bool(
        ((one - other).abs() <= torch.maximum(float_steps(one, dtype), float_steps(other, dtype))).all()
    )


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
