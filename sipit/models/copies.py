"""The same model, and the same module, in other number types."""

import copy
from dataclasses import replace
from typing import Any

import torch

from numerics.dtypes import name_of
from numerics.networks.casting import cast_copy
from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.structure import find_decoder


def in_dtype(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """The same model with weights and arithmetic of another type; itself where it has that type.

    Raises:
        InvalidInput: it is not as it was loaded.
        Unsupported: the library does not run it in that type.
    """
    check_loaded(model)
    if dtype == model.dtype:
        return model
    module = cast_copy(model.module, dtype)
    try:
        decoder = find_decoder(module)
    except Unsupported:
        raise Unsupported(
            f"Expected a model that runs in {name_of(dtype)}, but the library does not run {model.name} in it; use "
            "another number type."
        ) from None
    return replace(model, module=module, decoder=decoder, dtype=dtype)


def copied(model: LanguageModel) -> LanguageModel:
    """A copy with the parts that were found in the model, for plain forwards alone: nothing is tried again.

    Raises:
        InvalidInput: it is not as it was loaded.
    """
    check_loaded(model)
    decoder = model.decoder
    module, body, chain, tables = copy.deepcopy((model.module, decoder.body, decoder.chain, decoder.tables))
    return replace(model, module=module, decoder=replace(decoder, body=body, chain=chain, tables=tables))


def in_float64(module: Any) -> Any:
    """A copy of a module that computes in float64, where the library's own casts let it."""
    return cast_copy(module, torch.float64)
