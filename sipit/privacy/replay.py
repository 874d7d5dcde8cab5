"""Whether two models are one function: both computed in float64, without the casts of the library.

In float32 a wrong epsilon moves a state by less than rounding does. In float64 rounding is a thousand million times
smaller, and what is left of a difference is one of the networks. Weights that are the same in a coarser number format
are brought to that first, and so is what the class rounds to it by itself: a scale when it is made in a half type, a
table of positions when it is first run in one. What somebody else has rounded, such as rotary frequencies, is not.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from numerics.dtypes import name_of
from numerics.networks.casting import cast
from proofs.errors import SipitError
from proofs.threads import turn
from sipit.memory import available_memory
from sipit.models import LanguageModel
from sipit.models.copies import copied
from sipit.models.library import one_line
from sipit.models.refusals import REFUSALS, Refusals
from sipit.privacy.compared import Place, first_beyond
from sipit.privacy.runs import ModelRun, attention_of
from sipit.privacy.spread import damped_distance
from sipit.privacy.weights import rounds_alike, unpack
from sipit.states.layered import capture_layers

_COPIES = 2  # of a model at once: a matrix is there in its own type and in float64
_EXACT = 64  # multiples of the spread that float64 may leave between two ways of computing one function


class _WithoutCasts(TorchFunctionMode):
    """What asks for float32 gets float64: norms, rotary tables and softmax of the library do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wide = [torch.float64 if one is torch.float32 else one for one in args]
        named = {name: torch.float64 if one is torch.float32 else one for name, one in (kwargs or {}).items()}
        return func(*wide, **named)


def in_exact_arithmetic(
    model: LanguageModel, prompts: Sequence[Sequence[int]], layers: Sequence[int], rounded: torch.dtype
) -> tuple[torch.Tensor, ...] | str:
    """The states (layers, T, d) of prompts in float64, with weights rounded to a type before; or why there are none."""
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    if _COPIES * 8 * weights > available_memory():
        return "there is no memory for a copy of it in float64"
    try:
        exact = copied(model)
        unpack(exact.module, rounded)  # in one go: by way of another type it may be another number
        if torch.finfo(rounded).eps > torch.finfo(model.dtype).eps:
            cast(exact.module, rounded)
        _run_once(exact)
        cast(exact.module, torch.float64)
        exact = replace(exact, dtype=torch.float64)
        attention = "eager" if hasattr(exact.module, "set_attn_implementation") else None
        with attention_of(exact, attention), _WithoutCasts():
            found = capture_layers(exact, prompts, layers).stacks
    except (*REFUSALS, SipitError) as error:
        return f"it does not run in float64 ({one_line(error)})"
    return tuple(stack.cpu() for stack in found)


def replayed(
    one: ModelRun,
    two: ModelRun,
    ids: list[list[int]],
    layers: tuple[int, ...],
    spreads: tuple[torch.Tensor, ...],
    unit: float,
    shared: torch.dtype | None,
) -> tuple[dict[str, Any], Place | None]:
    """What two models do in float64: told in words and by layer, and where they first differ."""
    types = (one.model.coarsest, two.model.coarsest, shared or torch.float64)
    rounded = max(types, key=lambda dtype: torch.finfo(dtype).eps)
    if shared is not None and not rounds_alike(one.model, two.model, rounded):
        return {"done": False, "reason": f"their weights are steps of {name_of(shared)} apart"}, None
    stacks = [in_exact_arithmetic(run.model, ids, layers, rounded) for run in (one, two)]
    for run, stack in zip((one, two), stacks, strict=True):
        if isinstance(stack, str):
            return {"done": False, "reason": f"{run.name}: {stack}"}, None
    distances = [damped_distance(b, a) for a, b in zip(*stacks, strict=True)]  # pyright: ignore[reportArgumentType]
    exact = torch.finfo(torch.float64).eps
    allowed = [_EXACT * spread * (exact / unit) for spread in spreads]
    found = first_beyond(layers, distances, allowed)
    return {
        "done": True,
        "weights_rounded_to": name_of(rounded),
        "first": None if found is None else {"layer": found.layer, "position": found.position},
        "layers": [
            {"layer": layer, "distance": max(float(d[n].max()) for d in distances),
             "expected": max(float(a[n].max()) for a in allowed)}
            for n, layer in enumerate(layers)
        ],
    }, found  # fmt: skip


def _run_once(model: LanguageModel) -> None:
    """Runs a short prompt, for some classes bring a table to the type of the states only then, and keep it so."""
    with turn, torch.no_grad(), Refusals():
        model.decoder.body(input_ids=model.ordinary_ids(1), **model.abilities.arguments())
