"""Whether values are what a matrix makes of the stream, and nothing more."""

from typing import Any

import torch

from sipit.models import LanguageModel
from sipit.observations.cached import cached_heads
from sipit.observations.latent import watched_modules
from sipit.observations.readers import beside


def values_without_bias(model: LanguageModel, layer: int) -> bool:
    """Whether a matrix of block `layer` + 1 without a bias was seen to return the values as they are cached.

    They may stand behind queries and keys that the same matrix makes; in another order they are not recognised.
    """
    heads = cached_heads(model, layer)
    if isinstance(heads, str):
        return False
    values = beside(heads[1])[0]
    returned = watched_modules(model, layer)[1]
    return any(_is_plain(module) and torch.equal(rows[:, -values.shape[1] :], values) for module, rows in returned)


def _is_plain(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim == 2 and getattr(module, "bias", None) is None
