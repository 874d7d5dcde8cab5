"""What noise is measured on: short prompts of text and of random tokens."""

import torch

from sipit.models import LanguageModel
from sipit.prompts.builtin_text import random_tokens, section_prompts, within_context

_LENGTH = 48  # tokens of a calibration prompt
_SEED = 20251017


def calibration_prompts(model: LanguageModel) -> list[list[int]]:
    """Natural text where there is a tokenizer, and random tokens, of unequal lengths so that batches are padded."""
    generator = torch.Generator().manual_seed(_SEED)
    length = within_context(model, _LENGTH)
    if not model.lengths.runs_in_parts(length):
        length = model.lengths.lengths[0]
    natural = section_prompts(model, count=3, length=length)
    drawn = random_tokens(model, (3, length), generator=generator).tolist()
    return [ids[: max(1, length - 7 * number)] for number, ids in enumerate(natural + drawn)]
