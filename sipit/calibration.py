"""What noise is measured on: short prompts of text and of random tokens, and the same model in other types."""

import copy
from dataclasses import replace

import torch

from numerics.arithmetic import cast
from sipit.corpus import random_tokens, section_prompts
from sipit.models import LanguageModel
from sipit.models.structure import find_decoder

_LENGTH = 48  # tokens of a calibration prompt
_SEED = 20251017


def calibration_prompts(model: LanguageModel) -> list[list[int]]:
    """Natural text where there is a tokenizer, and random tokens, of unequal lengths so that batches are padded."""
    generator = torch.Generator().manual_seed(_SEED)
    length = min(_LENGTH, model.context or _LENGTH)
    natural = section_prompts(model, count=3, length=length)
    drawn = random_tokens(model, (3, length), generator=generator).tolist()
    return [ids[: max(1, length - 7 * number)] for number, ids in enumerate(natural + drawn)]


def in_dtype(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """The same model with weights and arithmetic of another type; itself where it has that type."""
    if dtype == model.dtype:
        return model
    module = cast(copy.deepcopy(model.module), dtype)
    return replace(model, module=module, decoder=find_decoder(module), dtype=dtype)
