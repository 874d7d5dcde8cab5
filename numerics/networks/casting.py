"""A module in another floating-point type, as the library loads it in that type.

In a half type the parts that a class names, or makes in float32 (some routers), stay in float32. What no checkpoint
stores has the type that the class makes it in: frequencies of rotations stay in float32, rounded ones turn later
positions by other angles; scales of embeddings and masks that are made in the type of the weights are rounded.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch

from proofs.errors import Unsupported
from proofs.threads import turn

HALVES = (torch.float16, torch.bfloat16)
COMPUTED_IN = (torch.float64, torch.float32, *HALVES)  # what layers compute in, the most exact first


def is_packed(module: Any) -> bool:
    """Whether a library keeps weights of a module packed: it says so, or it holds them in a class or type of its own.

    What it says may be lost where a part of a model is put into another one; what is held may be in buffers.
    """
    said = any(getattr(part, "hf_quantizer", None) is not None for part in module.modules())
    return said or any(holds_packed(weight) for weight in module.parameters())


def holds_packed(weight: torch.nn.Parameter) -> bool:
    """Whether a parameter holds no plain weights: it is of a library's class, or of a type of no layer's products."""
    return type(weight) is not torch.nn.Parameter or weight.dtype not in COMPUTED_IN


def cast(module: Any, dtype: torch.dtype) -> Any:
    """A module brought, in place, to weights and arithmetic of a floating-point type.

    Raises:
        Unsupported: a library keeps its weights packed.
    """
    _expect_plain(module, dtype)
    if dtype in HALVES:
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
    _expect_plain(module, dtype)  # before it is made plain weight by weight
    made = {
        id(tensor): torch.nn.Parameter(tensor.detach().to(kind, copy=True), tensor.requires_grad)
        for tensor, kind in _types(module, dtype)
        if type(tensor) is torch.nn.Parameter
    }
    return cast(copy.deepcopy(module, made), dtype)


def _expect_plain(module: Any, dtype: torch.dtype) -> None:
    if is_packed(module):
        raise Unsupported(
            f"Expected weights that can be held in {str(dtype).removeprefix('torch.')}, but a quantiser keeps them "
            "packed; dequantise the model, and save it again."
        )


def _types(module: Any, dtype: torch.dtype) -> Iterator[tuple[torch.Tensor, torch.dtype]]:
    """The floating-point parameters and buffers, each with the type that it is to have."""
    half = dtype in HALVES
    stored, wide = (module.state_dict().keys(), _kept_wide(module, dtype)) if half else ((), None)
    made = _made_in(module, dtype) if half else dict[str, torch.dtype]()
    parameters = {name for name, _ in module.named_parameters()}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not tensor.is_floating_point():
            continue
        kept = torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
        if half and wide and wide.search(name):
            yield tensor, kept
        elif half and name not in stored:
            yield tensor, made[name] if made.get(name) in HALVES else kept
        elif name in parameters and made.get(name) == torch.float32:
            yield tensor, kept
        else:
            yield tensor, dtype


def _kept_wide(module: Any, dtype: torch.dtype) -> re.Pattern[str] | None:
    """What is in the names of the parts that a class keeps in float32 where it is loaded in a half type, if any."""
    kinds = ("_keep_in_fp32_modules_strict", *(["_keep_in_fp32_modules"] if dtype == torch.float16 else []))
    said = sorted(part for kind in kinds for part in getattr(module, kind, None) or ())
    return re.compile("|".join(part.replace("*", ".*") for part in said)) if said else None


def _made_in(module: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The types of parameters and buffers as a class makes them where everything is made in a half type, by name."""
    with turn:
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                config = copy.deepcopy(module.config)
                for part in _configs(config):
                    part.dtype = dtype  # which some classes make their own parts in
                made = type(module)(config)
        except Exception:  # noqa: BLE001 - a class that is no library's may raise whatever it likes, or have no config
            return {}
        finally:
            torch.set_default_dtype(before)
    return {name: tensor.dtype for name, tensor in (*made.named_parameters(), *made.named_buffers())}


def _configs(config: Any) -> Iterator[Any]:
    """A config, and those of the parts in it."""
    yield config
    for name in getattr(config, "sub_configs", {}):
        part = getattr(config, name, None)
        if part is not None:
            yield from _configs(part)
