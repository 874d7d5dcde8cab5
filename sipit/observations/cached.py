"""Keys and values: what a block puts into the key-value cache, found by running a short prompt with an empty one."""

from typing import Any, Literal

import torch

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.hooks import hooked
from sipit.models.refusals import Refusals
from sipit.observations.readers import InCache, beside

_LENGTH = 3  # tokens; the shortest window of a cache that drops what lies behind it is longer


def empty_memory(model: LanguageModel) -> Any:
    """A cache with nothing in it, of the kind that the body makes for itself where that can be had alone."""
    from transformers.cache_utils import DynamicCache

    known = model.abilities
    return DynamicCache(config=model.module.config.get_text_config()) if known.empty_memory is None else (
        known.empty_memory()
    )  # fmt: skip


def find_cached(model: LanguageModel, layer: int, which: Literal["keys", "values"]) -> InCache:
    """The reader of what block `layer` + 1 caches.

    Raises:
        Unsupported: it puts nothing there, or something else than it is seen to put there.
    """
    stored = cached_heads(model, layer)
    if isinstance(stored, str):
        raise no_cache(model, layer, which, stored)
    return InCache(layer, which)


def no_cache(model: LanguageModel, layer: int, which: str, reason: str) -> Unsupported:
    """The error that says why there are none."""
    return Unsupported(
        f"Expected {which} that block {layer + 1} of {model.name} puts into a cache, but {reason}; observe another "
        "layer, or another site, such as residual."
    )


def cached_heads(model: LanguageModel, layer: int) -> tuple[torch.Tensor, torch.Tensor] | str:
    """Keys and values (1, H, T, D) that block `layer` + 1 caches for a short prompt, or why there are none."""
    if model.abilities.memory is None:
        return model.abilities.refused["memory"]
    ids = model.ordinary_ids(_LENGTH)
    inside, own = list[bool](), list[bool]()
    block = model.decoder.blocks[layer]
    seen: dict[str, list[torch.Tensor]] = {"keys": [], "values": []}

    def keep(which: str, tensor: torch.Tensor) -> None:
        own.append(bool(inside))
        seen[which].append(tensor)

    with Refusals():
        memory = empty_memory(model)
        with (
            hooked(
                lambda: [
                    block.register_forward_pre_hook(lambda *_: inside.append(True)),
                    block.register_forward_hook(lambda *_: inside.clear()),
                ]
            ),
            torch.inference_mode(),
            InCache(layer, "keys").reading(lambda tensor: keep("keys", tensor), memory),
            InCache(layer, "values").reading(lambda tensor: keep("values", tensor), memory),
        ):
            model.decoder.body(input_ids=ids, **model.abilities.arguments(memory=memory))
        stored = memory.layers[layer]
        heads = (stored.keys, stored.values)
        agree = all(
            len(seen[which]) == 1 and torch.equal(seen[which][0], beside(part))
            for which, part in zip(("keys", "values"), heads, strict=True)
        )
        if not all(own):
            return "none of its own was seen there"
        return heads if agree else f"what it keeps there of {_LENGTH} tokens is not what it was seen to put there"
    return "none was seen there"
