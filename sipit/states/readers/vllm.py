"""Files that vLLM writes: hidden states with their token ids, and a key-value cache layer by layer.

Its hidden states are one tensor `hidden_states` (T, layers, d) beside `token_ids` (T,), one file per prompt; a set of
rows is the stream that enters a block, before any norm. The example key-value connector writes a folder per prompt with
one file per layer, named for the attention module, whose only tensor is `kv_cache`.
"""

import re
from collections.abc import Sequence

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.models.network import Layer
from sipit.states.readers.containers import NUMBER, Container, Stored
from sipit.states.readers.contents import Contents, Place

BLOCK = 16  # tokens in a block of its cache; rows of whole blocks that were in it are not computed again


def vllm_states(container: Container, named: Sequence[Layer], model: LanguageModel | None = None) -> Contents | None:
    """The hidden states of a vLLM file, layer by layer; None where it is none.

    One prompt (1, T, d) beside its ids (T,) is called alike: it is none where vLLM would not have lost so many rows, or
    the model has not so many layers.

    Its sets of rows are layers 0, 1, …, unless as many layers are `named` as the file has, be it one: then those.

    Raises:
        InvalidInput: not one id per row, a shape with both readings, or fewer sets than layers named.
    """
    tensors = {tensor.name: tensor for tensor in container.tensors}
    if set(tensors) != {"hidden_states", "token_ids"}:
        return None
    states, ids = tensors["hidden_states"], tensors["token_ids"]
    if not states.floating or len(states.shape) != 3 or 0 in states.shape or not ids.whole or len(ids.shape) != 1:
        return None
    count, layers, _ = states.shape
    if ids.shape[0] != count:
        lost = ids.shape[0] - count
        if (count, layers) == (1, ids.shape[0]):
            if lost % BLOCK or (model is not None and layers > model.layers + 1):
                return None
            raise InvalidInput(
                f"Expected one meaning, but {states} of {container.path} can be one prompt of {layers} tokens, or the "
                f"last row of one at {layers} layers as vLLM writes it, behind {lost} of a cached prefix; name the "
                "tensor states in the first case, and turn prefix caching off in the second."
            )
        way = "save both of one request"
        if lost > 0 and lost % BLOCK == 0:
            way = f"{lost} rows of a cached prefix are missing: turn prefix caching off, or save the rows alone and "
            way += "name the tokens in front with --prefix"
        raise InvalidInput(
            f"Expected one token id for each of {count} rows of vLLM hidden states, but {container.path} has "
            f"{ids.shape[0]}; {way}."
        )
    if len(named) > 1 and len(named) != layers:
        raise InvalidInput(
            f"Expected one layer, or a name for each of the {layers} sets of rows in {container.path}, but got "
            f"--layer {','.join(map(str, named))}; name {layers} layers in their order."
        )
    names: Sequence[Layer] = named if len(named) == layers else range(layers)
    rows = states.read()
    places = {Place("residual", name): (rows[:, index].contiguous(),) for index, name in enumerate(names)}
    return Contents("hidden states of vLLM", places, (tuple(map(int, ids.read().tolist())),))


def vllm_cache(containers: Sequence[Container]) -> Contents | None:
    """Keys and values of one prompt from the files of a key-value connector; None where they are none.

    Raises:
        InvalidInput: a file whose name has no layer, or that of another file; a shape that can mean two things or none.
    """
    if not all([tensor.name for tensor in one.tensors] == ["kv_cache"] for one in containers):
        return None
    places: dict[Place, tuple[torch.Tensor, ...]] = {}
    for container in containers:
        found = re.search(rf"(?:layers|h|blocks)\.({NUMBER})\.", container.path.name)
        if found is None:
            raise InvalidInput(
                "Expected a file named for its attention module, such as model.layers.0.self_attn.attn.safetensors, "
                f"but got {container.path}; keep the names of the key-value connector."
            )
        layer = int(found[1])
        for site, rows in _halves(container, container.tensors[0]).items():
            if Place(site, layer) in places:
                raise InvalidInput(
                    f"Expected one file for each layer, but {container.path} and another hold {Place(site, layer)}; "
                    "keep those of one attention module."
                )
            places[Place(site, layer)] = (rows,)
    lengths = {len(rows) for (rows,) in places.values()}
    if len(lengths) > 1:
        raise InvalidInput(
            f"Expected caches of one prompt in {containers[0].path.parent}, but they have {sorted(lengths)} tokens; "
            "keep one prompt in a folder."
        )
    return Contents("a key-value cache of vLLM", places)


def _halves(container: Container, stored: Stored) -> dict[str, torch.Tensor]:
    """Keys and values, each (T, heads x width), or the latent rows of multi-head latent attention."""
    shape = stored.shape
    if not stored.floating or 0 in shape or not 2 <= len(shape) <= 4:
        raise InvalidInput(f"Expected a key-value cache of floats, but {container.path} holds {stored}; save it again.")
    cache = stored.read()
    if len(shape) == 2:
        return {"latent": cache}
    first, second = shape[0] == 2, len(shape) == 4 and shape[1] == 2
    if first and second:
        raise InvalidInput(
            f"Expected a cache with one axis of 2, but {stored} in {container.path} can be keys and values of 2 "
            "tokens, or 2 tokens' keys and values; save a longer prompt, or keys and values as tensors of their own."
        )
    if not first and not second:
        raise InvalidInput(
            f"Expected a cache of shape (2, T, …) or (T, 2, heads, width), but {container.path} holds {stored}; save "
            "keys and values as tensors of their own."
        )
    keys, values = cache.unbind(0 if first else 1)
    return {"keys": keys.flatten(1).contiguous(), "values": values.flatten(1).contiguous()}
