"""What stands for a token in a probe: its embedding row, or the state behind the first block of the token alone.

The first block of a trained model looks its tokens up once more: what it writes says more of a token than the row does,
and later states carry both. Where it mostly mixes tokens, as with random weights, the row says more. The states are
made once per model and kept in the cache; in bfloat16, since only an order comes of them.
"""

from collections.abc import Callable
from functools import cache

import torch

from numerics.dtypes import name_of
from sipit.cache import keep_tensors, kept_tensors, measured_with
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.record import Progress

RowsAt = Callable[[int], torch.Tensor]  # the rows of a layer
_BATCH = 512  # tokens that run at once


def rows_by_layer(model: LanguageModel, progress: Progress | None = None) -> RowsAt:
    """The rows that stand for tokens, less their mean, shape (V, e), float32, each kind worked out once.

    At layer 0 the embedding, at others the states behind the first block; the embedding too where these are not finite.
    """

    def rows(layer: int) -> torch.Tensor:
        found = _first_block(model, progress) if layer else None
        if found is None:
            found = model.decoder.tables[0].weight.detach().float()
        return found - found.mean(0)

    return cache(rows)


def _first_block(model: LanguageModel, progress: Progress | None) -> torch.Tensor | None:
    """The states (V, d) behind the first block, kept ones or new ones; None where they are not finite."""
    key = f"{measured_with(model.device)}/token-rows/{model.digest[:32]}-{name_of(model.dtype)}.safetensors"
    rows = (kept_tensors(key) or {}).get("rows")
    if rows is None or rows.shape != (model.vocabulary_size, model.width_at(1)) or not bool(rows.isfinite().all()):
        network, parts = Network(model, 1), list[torch.Tensor]()
        for tokens in torch.arange(model.vocabulary_size, device=model.device).split(_BATCH):
            parts.append(network.run(tokens[:, None])[:, 0].to(torch.bfloat16))
            if progress is not None:
                progress(_BATCH * (len(parts) - 1) + len(tokens), model.vocabulary_size)
        rows = torch.cat(parts)
        if not bool(rows.isfinite().all()):
            return None
        keep_tensors(key, {"rows": rows})
    return rows.to(model.device).float()
