"""What stands for a token in a probe: its embedding row, or the state behind the first block of the token alone.

The first block of a trained model looks its tokens up once more: what it writes says more of a token than the row does,
and later states carry both. Where it mostly mixes tokens, as with random weights, the row says more. The states are
made once per model, and only where a trial with some tokens says so, and kept in the cache; in bfloat16, since only an
order comes of them.
"""

import torch

from numerics.dtypes import name_of
from proofs.errors import InvalidInput
from sipit.cache import keep_tensors, kept_tensors, measured_with
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.record import Progress

KINDS = (0, 1)  # layers whose states of tokens alone may stand for them
_BATCH = 512  # tokens that run at once


def token_rows(model: LanguageModel, layer: int, *, progress: Progress | None = None) -> torch.Tensor:
    """The rows that stand for tokens, less their mean, shape (V, e), float32: of the embedding, or behind block 1.

    Those of the embedding, too, where states behind the first block are not finite.

    Raises:
        InvalidInput: a row of the embedding is not finite.
    """
    behind = _behind_first_block(model, progress) if layer else None
    return _embedded(model) if behind is None else behind


def rows_of_some(model: LanguageModel, layer: int, tokens: torch.Tensor) -> torch.Tensor:
    """The same of some tokens (n,) alone, shape (n, e): nothing is kept."""
    states = _alone(model, tokens, None) if layer else _embedded(model)[tokens]
    return states - states.mean(0) if bool(states.isfinite().all()) else _embedded(model)[tokens]


def _embedded(model: LanguageModel) -> torch.Tensor:
    rows = model.decoder.tables[0].weight.detach().float()
    odd = (~rows.isfinite().all(1)).nonzero().flatten()
    if len(odd):
        raise InvalidInput(
            f"Expected a finite embedding row for every token, but that of token {int(odd[0])} of {model.name} holds "
            "NaN or an infinity; mend the weights, or try tokens in the order of --policy nearest."
        )
    return rows - rows.mean(0)


def _alone(model: LanguageModel, tokens: torch.Tensor, progress: Progress | None) -> torch.Tensor:
    """The states behind the first block of tokens (n,), each of them a whole prompt."""
    network, states = Network(model, 1), torch.empty(len(tokens), model.width_at(1), device=model.device)
    for at, some in enumerate(tokens.split(_BATCH)):
        states[at * _BATCH :][: len(some)] = network.run(some[:, None])[:, 0].float()
        if progress is not None:
            progress(at * _BATCH + len(some), len(tokens))
    return states


def _behind_first_block(model: LanguageModel, progress: Progress | None) -> torch.Tensor | None:
    """The centred states (V, d), kept ones or new ones; None where they are not finite."""
    key = f"{measured_with(model.device)}/token-rows/{model.digest[:32]}-{name_of(model.dtype)}.safetensors"
    rows = (kept_tensors(key) or {}).get("rows")
    shape = (model.vocabulary_size, model.width_at(1))
    if rows is None or rows.dtype != torch.bfloat16 or rows.shape != shape or not bool(rows.isfinite().all()):
        states = _alone(model, torch.arange(model.vocabulary_size, device=model.device), progress)
        # A token alone stands at an attention sink: beside what all have in common there, their differences are small.
        rows = (states - states.mean(0)).to(torch.bfloat16)
        if not bool(rows.isfinite().all()):
            return None
        keep_tensors(key, {"rows": rows})
    return rows.to(model.device).float()
