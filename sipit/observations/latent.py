"""The latent of multi-head latent attention: the few numbers of a token from which keys and values are made.

It is known by what is made of it: a linear module takes it and returns every head's values among its outputs, or it is
what is cached itself, as one head. What is read is what the module before hands on, behind its norm.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.hooks import Reached, hooked
from sipit.models.refusals import REFUSALS
from sipit.observations.cached import cached_heads, empty_memory, no_cache
from sipit.observations.readers import AtModule, first_tensor

_LENGTH = 3  # tokens, as many as `cached_heads` runs


def find_latent(model: LanguageModel, layer: int) -> AtModule:
    """The reader of the latent of a layer.

    Raises:
        Unsupported: keys and values are not made of one.
    """
    heads = cached_heads(model, layer)
    if isinstance(heads, str):
        raise no_cache(model, layer, "a latent", heads)
    taken, returned = watched_modules(model, layer)
    for module, given, made in taken:
        if isinstance(module, nn.Linear) and given.shape[1] < model.width and _is_latent(given, made, heads):
            source = next(
                (one for one, rows in returned if rows.shape == given.shape and torch.equal(rows, given)), None
            )
            if source is not None:
                return AtModule(model, source, layer + 1)
    raise Unsupported(
        f"Expected a latent that block {layer + 1} of {model.name} makes keys and values of, but none was found; "
        "observe keys or values."
    )


def latent_rows(model: LanguageModel, layer: int, arrays: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Rows (T, r) of the latents of a layer, also of such as have the rotary key behind them, as vLLM caches them.

    The key that they share is left aside: programs order its numbers in different ways.
    """
    heads = cached_heads(model, layer)
    for rows in arrays:
        whole = -1 if isinstance(heads, str) else sum(part.shape[1] * part.shape[3] for part in heads)
        own = -1 if isinstance(heads, str) or heads[0].shape[1] > 1 else heads[0].shape[3]
        yield rows[:, :own] if rows.ndim == 2 and rows.shape[1] == whole and own > 0 else rows


def _is_latent(given: torch.Tensor, made: torch.Tensor, heads: tuple[torch.Tensor, torch.Tensor]) -> bool:
    """Whether (T, r) numbers are cached as they are, or heads of what is made of them end with the cached values."""
    keys, values = heads
    if keys.shape[1] == 1 and keys.shape[3] == given.shape[1] and torch.equal(keys[0, 0], given):
        return made.shape[1] > given.shape[1]
    count, size = values.shape[1], values.shape[3]
    if count == 1 or made.shape[1] % count:
        return False
    ends = made.unflatten(1, (count, -1))[..., -size:]
    return ends.shape[2] == size and torch.equal(ends, values[0].transpose(0, 1))


def watched_modules(
    model: LanguageModel, layer: int
) -> tuple[list[tuple[nn.Module, torch.Tensor, torch.Tensor]], list[tuple[nn.Module, torch.Tensor]]]:
    """What modules of block `layer` + 1 take and return for a short prompt, (T, n) each, and what they return alone."""
    taken: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    returned: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        try:
            given, made = (first_tensor(part) for part in (arguments, output))
        except (StopIteration, *REFUSALS):
            return
        if given.shape[-2:-1] == made.shape[-2:-1] == (_LENGTH,) and given.numel() == _LENGTH * given.shape[-1]:
            taken.append((module, given.reshape(_LENGTH, -1), made.reshape(_LENGTH, -1)))
            returned.append((module, made.reshape(_LENGTH, -1)))

    def leave(*_: Any) -> None:
        raise Reached

    block = model.decoder.blocks[layer]
    inner = [part for part in block.modules() if part is not block]
    ids = model.ordinary_ids(_LENGTH)
    with (
        hooked(lambda: [*(p.register_forward_hook(note) for p in inner), block.register_forward_hook(leave)]),
        torch.inference_mode(),
    ):
        try:
            model.decoder.body(input_ids=ids, **model.abilities.arguments(memory=empty_memory(model)))
        except Reached:
            return taken, returned
    return taken, returned
