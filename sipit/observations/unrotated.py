"""Keys before rotary positions turn them: what a block would cache if every token stood at the first position.

The block is handed the tables and positions of the first position for every token, as it was seen to be handed them
there. Whether that is what it means is tried: tokens that do stand there, each a prompt of its own, have to get the
same keys from the same states.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from proofs.errors import Unsupported
from proofs.threads import turn
from sipit.models import LanguageModel
from sipit.models.abilities import agree
from sipit.models.hooks import Reached, hooked
from sipit.models.network import Network, replaced_blocks
from sipit.models.refusals import Refusals
from sipit.observations.cached import cached_heads, empty_memory, no_cache
from sipit.observations.readers import InCache, Keep

_LENGTH = 4  # tokens of the prompt on which it is tried


@dataclass(frozen=True, eq=False)
class Unrotated(InCache):
    """The keys of a layer for tokens told to stand at the first position; `first` is what the block is told then."""

    block: nn.Module
    first: dict[str, tuple[torch.Tensor, ...]]

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Reader.reading`."""

        def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            told = {name: _spread(named[name], parts) for name, parts in self.first.items() if name in named}
            return arguments, {**named, **told}

        with (
            hooked(lambda: [self.block.register_forward_pre_hook(before, with_kwargs=True)]),
            super().reading(keep, memory),
        ):
            yield


def find_unrotated(model: LanguageModel, layer: int) -> Unrotated:
    """The reader of the keys of a layer before they are turned.

    Raises:
        Unsupported: there are none, or they are not turned, or it was not found out how.
    """
    reader, found, same = _tried(model, layer)
    if same:
        raise Unsupported(f"Expected keys that {model.name} turns, but it does not; observe keys, which are the same.")
    alone = None
    ids = model.ordinary_ids(_LENGTH)
    with Refusals():
        alone = _alone(model, layer, Network(model, layer).run(ids), ids)
    if found is None or alone is None or not agree(alone, found, model.dtype):
        raise Unsupported(
            f"Expected a block {layer + 1} of {model.name} that is told where tokens stand, but it was not found out "
            "how; observe keys."
        )
    return reader


def turns_keys(model: LanguageModel, layer: int) -> bool:
    """Whether a layer may turn its keys: not where they stay as they are though every token is told the first place."""
    return isinstance(cached_heads(model, layer), str) or not _tried(model, layer)[2]


def _tried(model: LanguageModel, layer: int) -> tuple[Unrotated, torch.Tensor | None, bool]:
    """The reader of a layer, the keys (1, T, n) that it finds, and whether the block caches just these."""
    stored = cached_heads(model, layer)
    if isinstance(stored, str):
        raise no_cache(model, layer, "keys", stored)
    block = model.decoder.blocks[layer]
    ids = model.ordinary_ids(_LENGTH)
    reader = Unrotated(layer, "keys", block, _told_first(model, block))
    turned = found = None
    with Refusals():
        turned, found = (_keys(model, one, ids) for one in (InCache(layer, "keys"), reader))
    return reader, found, turned is not None and found is not None and torch.equal(turned, found)


def _told_first(model: LanguageModel, block: nn.Module) -> dict[str, tuple[torch.Tensor, ...]]:
    """What a block is handed for the first token by name: whole numbers, and tables of several tensors."""
    told: dict[str, tuple[torch.Tensor, ...]] = {}

    def look(_module: Any, _arguments: Any, named: dict[str, Any]) -> None:
        for name, value in named.items():
            parts = value if isinstance(value, tuple | list) else (value,)
            if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
                continue
            axis = -1 if parts[0].dtype == torch.int64 else -2
            table = isinstance(value, tuple | list) or parts[0].is_complex() or parts[0].dtype == torch.int64
            if table and all(part.ndim >= -axis and part.shape[axis] == _LENGTH for part in parts):
                told[name] = tuple(part.narrow(axis, 0, 1) for part in parts)

    ids = model.ordinary_ids(_LENGTH)
    with hooked(lambda: [block.register_forward_pre_hook(look, with_kwargs=True)]), torch.inference_mode():
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    return told


def _spread(value: Any, parts: tuple[torch.Tensor, ...]) -> Any:
    """What was handed for the first token, for as many as there are now."""
    if isinstance(value, torch.Tensor):
        return parts[0].expand_as(value)
    if not isinstance(value, tuple | list):
        return value
    return type(value)(part.expand_as(now) for part, now in zip(parts, value, strict=True))


def _keys(model: LanguageModel, reader: InCache, ids: torch.Tensor) -> torch.Tensor:
    """The keys (B, T, n) that a reader finds."""
    found: list[torch.Tensor] = []

    def end(keys: torch.Tensor) -> None:
        found.append(keys)
        raise Reached

    memory = empty_memory(model)
    with turn, torch.inference_mode(), reader.reading(end, memory), suppress(Reached):
        model.decoder.body(input_ids=ids, **model.abilities.arguments(memory=memory))
    return found[0]


def _alone(model: LanguageModel, layer: int, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The keys of states (1, T, d) that enter the block each as a prompt of one token, (1, T, n).

    The prompts are those of one token of the ids (1, T), which a block may look at as well.
    """
    if layer == 0:
        return _keys(model, InCache(layer, "keys"), ids.T).transpose(0, 1)
    rows = states[0][:, None]
    with replaced_blocks(model, layer, rows):
        return _keys(model, InCache(layer, "keys"), ids.T).transpose(0, 1)
