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

from numerics.networks.casting import cast
from proofs.errors import SipitError
from sipit.memory import available_memory
from sipit.models import LanguageModel
from sipit.models.copies import copied
from sipit.models.library import one_line
from sipit.models.refusals import REFUSALS, Refusals
from sipit.privacy.runs import attention_of
from sipit.privacy.weights import unpack
from sipit.states.layered import capture_layers

_COPIES = 2  # of a model at once: a matrix is there in its own type and in float64


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
        exact = replace(copied(model), dtype=torch.float64)
        unpack(exact.module)
        if torch.finfo(rounded).eps > torch.finfo(model.dtype).eps:
            cast(exact.module, rounded)
        _run_once(exact)
        cast(exact.module, torch.float64)
        attention = "eager" if hasattr(exact.module, "set_attn_implementation") else None
        with attention_of(exact, attention), _WithoutCasts():
            found = capture_layers(exact, prompts, layers).stacks
    except (*REFUSALS, SipitError) as error:
        return f"it does not run in float64 ({one_line(error)})"
    return tuple(stack.cpu() for stack in found)


def _run_once(model: LanguageModel) -> None:
    """Runs a short prompt, for some classes bring a table to the type of the states only then, and keep it so."""
    with torch.no_grad(), Refusals():
        model.decoder.body(input_ids=model.first_ids(1), **model.abilities.arguments())
