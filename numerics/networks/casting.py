"""A module in another floating-point type, as the library loads it in that type.

In a half type, what no checkpoint stores (the frequencies of rotations) and the parts that a class names, or makes in a
type of their own (some routers), stay in float32: rounded frequencies turn later positions by other angles.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch

from proofs.errors import Unsupported

_HALVES = (torch.float16, torch.bfloat16)


def cast(module: Any, dtype: torch.dtype) -> Any:
    """A module brought, in place, to weights and arithmetic of a floating-point type.

    Raises:
        Unsupported: a library keeps its weights packed.
    """
    if getattr(module, "hf_quantizer", None) is not None:
        raise Unsupported(
            f"Expected weights that can be held in {str(dtype).removeprefix('torch.')}, but a quantiser keeps them "
            "packed; dequantise the model, and save it again."
        )
    if dtype in _HALVES:
        for tensor, kind in _types(module, dtype):
            tensor.data = tensor.data.to(kind)
        return module
    module.to(dtype)
    if dtype == torch.float64 and hasattr(module, "set_experts_implementation"):
        module.set_experts_implementation("eager")  # the grouped kernel of experts has no float64
    return module


def cast_copy(module: Any, dtype: torch.dtype) -> Any:
    """A copy in another type, made weight by weight: no copy in the first type ever lies beside it.

    Raises:
        Unsupported: as for `cast`.
    """
    made = {
        id(tensor): torch.nn.Parameter(tensor.detach().to(kind, copy=True), tensor.requires_grad)
        for tensor, kind in _types(module, dtype)
        if type(tensor) is torch.nn.Parameter
    }
    return cast(copy.deepcopy(module, made), dtype)


def _types(module: Any, dtype: torch.dtype) -> Iterator[tuple[torch.Tensor, torch.dtype]]:
    """The floating-point parameters and buffers, each with the type that it is to have."""
    half = dtype in _HALVES
    stored, wide = (module.state_dict().keys(), _kept_wide(module, dtype)) if half else ((), None)
    made = _made_wide(module, dtype) if half else frozenset[str]()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not tensor.is_floating_point():
            continue
        if half and (name not in stored or name in made or (wide and wide.search(name))):
            yield tensor, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
        else:
            yield tensor, dtype


def _kept_wide(module: Any, dtype: torch.dtype) -> re.Pattern[str] | None:
    """What is in the names of the parts that a class keeps in float32 where it is loaded in a half type, if any."""
    kinds = ("_keep_in_fp32_modules_strict", *(["_keep_in_fp32_modules"] if dtype == torch.float16 else []))
    said = sorted(part for kind in kinds for part in getattr(module, kind, None) or ())
    return re.compile("|".join(part.replace("*", ".*") for part in said)) if said else None


def _made_wide(module: Any, dtype: torch.dtype) -> frozenset[str]:
    """The parameters that a class makes in float32 though everything is made in a half type."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            made = type(module)(copy.deepcopy(module.config))
    except Exception:  # noqa: BLE001 - a class that is no library's may raise whatever it likes, or have no config
        return frozenset()
    finally:
        torch.set_default_dtype(before)
    return frozenset(name for name, tensor in made.named_parameters() if tensor.dtype == torch.float32)
