"""The same model, and the same module, in other number types."""

import copy
from dataclasses import replace
from typing import Any

import torch

from numerics.graphs.float64 import cast, kept_wide
from sipit.models import LanguageModel
from sipit.models.structure import find_decoder


def in_dtype(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """The same model with weights and arithmetic of another type; itself where it has that type."""
    if dtype == model.dtype:
        return model
    module = _cast_copy(model.module, dtype)
    return replace(model, module=module, decoder=find_decoder(module), dtype=dtype)


def copied(model: LanguageModel) -> LanguageModel:
    """A copy with the parts that were found in the model, for plain forwards alone: nothing is tried again."""
    decoder = model.decoder
    module, body, chain, tables = copy.deepcopy((model.module, decoder.body, decoder.chain, decoder.tables))
    return replace(model, module=module, decoder=replace(decoder, body=body, chain=chain, tables=tables))


def in_float64(module: Any) -> Any:
    """A copy of a module that computes in float64, where the library's own casts let it."""
    return _cast_copy(module, torch.float64)


def _cast_copy(module: Any, dtype: torch.dtype) -> Any:
    """A copy in another type, made weight by weight: no copy in the first type ever lies beside it."""
    wide = kept_wide(module, dtype)
    named = [(name, one) for name, one in module.named_parameters() if type(one) is torch.nn.Parameter]
    plain = [one for name, one in named if one.is_floating_point() and not (wide and wide.search(name))]
    made = {id(one): torch.nn.Parameter(one.detach().to(dtype, copy=True), one.requires_grad) for one in plain}
    return cast(copy.deepcopy(module, made), dtype)
