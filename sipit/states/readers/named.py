"""Dictionaries whose keys name places: TransformerLens hooks, tensors of llama.cpp, modules of the model itself.

A path of modules is looked up in the model: what counts is the module that it leads to, not how the path is spelt.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import nn

from proofs.errors import InvalidInput
from proofs.threads import turn
from sipit.models import LanguageModel
from sipit.models.hooks import hooked
from sipit.models.network import Layer, Network
from sipit.models.refusals import Refusals
from sipit.observations.halves import halves_of
from sipit.observations.readers import AtModule, Reader, first_tensor
from sipit.observations.sites import without_mean, without_mean_by_chance
from sipit.observations.unrotated import turns_keys
from sipit.states.readers.companions import Companions
from sipit.states.readers.containers import NUMBER, Container, Stored, check_numbers
from sipit.states.readers.contents import Contents, Place, TokenIds
from sipit.states.readers.meanings import HOOKS, LLAMA_CPP, other_meaning

# Pattern of the key, site, and by how much the layer is more than the number in the key.
_HOOKS = (
    (rf"blocks\.({NUMBER})\.hook_resid_pre", "residual", 0),
    (rf"blocks\.({NUMBER})\.hook_resid_post", "residual", 1),
    (rf"blocks\.({NUMBER})\.hook_resid_mid", "mid", 1),
    (rf"blocks\.({NUMBER})\.hook_attn_out", "attention-out", 1),
    (rf"blocks\.({NUMBER})\.hook_mlp_out", "mlp-out", 1),
    (rf"blocks\.({NUMBER})\.attn\.hook_rot_k", "keys", 0),
    (rf"blocks\.({NUMBER})\.attn\.hook_k", "keys-unrotated", 0),
    (rf"blocks\.({NUMBER})\.attn\.hook_v", "values", 0),
)
_LLAMA_CPP = (
    (rf"l_out-({NUMBER})", "residual", 1),
    (rf"ffn_inp-({NUMBER})", "mid", 1),
    (rf"attn_out-({NUMBER})", "attention-out", 1),
    (rf"ffn_out-({NUMBER})", "mlp-out", 1),
    (rf"attn_norm-({NUMBER})", "normed", 0),
    (rf"Vcur-({NUMBER})", "values", 0),
)
_LLAMA_CPP_KEYS = r"Kcur-\d+"  # before or behind the rotary embedding, of which the name says nothing
_FIRST = {"last_hidden_state", "args"}  # in a path: the first of what is returned, and what a call is given in order
_HEADS = {"keys", "keys-unrotated", "values"}  # sites with an axis of heads
# Names that can mean two things, and which.
_TWO_READINGS = (
    (r"hook_embed|(?:.*\.)?(?:wte|embed_tokens|embed_in|word_embeddings)(?:\.output(?:\.0)?)?",
     "rows of the embedding alone, --layer 0 where nothing is added to them, or no state"),
    (r"hook_pos_embed", "rows of positions: part of layer 0, or no state"),
    (r"ln_final\.hook_normalized", "the state after the final norm, --layer final, or one without the norm's gain"),
    (r"blocks\.\d+\.ln[12]\.hook_normalized",
     "a state after a norm of the block, --observe normed, or one without the norm's gain"),
)  # fmt: skip
_PlaceOf = Callable[[str], Place | None]
_LENGTH = 4  # tokens of a prompt with which modules are compared


def named_places(container: Container, model: LanguageModel | None) -> Contents | None:
    """The places that the keys name, with one tensor per prompt at each; None where no key names one.

    Raises:
        InvalidInput: two keys for one place, or a tensor that has no rows.
    """
    floats = [tensor for tensor in container.tensors if tensor.floating]
    for origin, place_of in _origins(model).items():
        others = [tensor for tensor in container.tensors if not tensor.floating]
        check_numbers(container.path, (tensor for tensor in others if place_of(tensor.name) is not None))
        found = [(tensor, place) for tensor in floats if (place := place_of(tensor.name)) is not None]
        if found:
            return _read(container, origin, found, model)
    keys = next((tensor for tensor in floats if re.fullmatch(_LLAMA_CPP_KEYS, tensor.name)), None)
    if keys is not None:
        raise InvalidInput(
            f"Expected values (Vcur) or rows of the stream, but {container.path} has {keys} of llama.cpp, which names "
            "keys alike before and behind the rotary embedding and reorders their coordinates for some models; save "
            "Vcur, or name the tensor after its prompt if it is as transformers caches it."
        )
    return None


def _read(
    container: Container, origin: str, found: Sequence[tuple[Stored, Place]], model: LanguageModel | None
) -> Contents:
    """The tensors at their places, and the token ids beside them.

    Ids and a mask are held against a place when it is read: programs keep fewer rows at some places than at others.
    """
    companions = Companions.of(container)
    places: dict[Place, tuple[torch.Tensor, ...]] = {}
    names: dict[Place, str] = {}
    amiss: dict[str, InvalidInput] = {}
    token_ids: TokenIds | None = None
    for tensor, place in found:
        flat = len(tensor.shape) == 2  # heads side by side
        axes = len(tensor.shape) - (place.site in _HEADS and not flat)
        if axes not in (2, 3) or 0 in tensor.shape:
            raise InvalidInput(
                f"Expected rows (T, d) or (N, T, d), but {tensor} in {container.path} has others; "
                "keep only such rows in it."
            )
        read = tensor.read()
        arrays = tuple(read if axes == 3 else read[None])
        try:
            arrays = companions.without_padding(arrays, container)
            token_ids = companions.ids_of(arrays, container)
        except InvalidInput as error:
            amiss[tensor.name] = error
        for meant in _centred(place, arrays) if origin == HOOKS else [place]:
            if meant in places:
                raise InvalidInput(
                    f"Expected one tensor for each place, but {container.path} has two for {meant}, one of them "
                    f"{tensor.name!r}; remove one."
                )
            places[meant], names[meant] = tuple(rows.flatten(1) for rows in arrays), tensor.name

    def check(place: Place) -> None:
        if names[place] in amiss:
            raise amiss[names[place]]
        other = other_meaning(model, origin, place, places[place])
        if other is not None:
            raise InvalidInput(
                f"Expected one meaning of {names[place]!r} in {container.path}, but it can be {place}, or {other}; "
                "if it is the first, save it under a name that says nothing, such as states, and name site and layer."
            )

    return Contents(origin, places, token_ids, check)


def two_readings(container: Container) -> str | None:
    """What the keys of a file can mean, where one of them has two readings."""
    names = [tensor.name for tensor in container.tensors if tensor.floating]
    found = ((name, says) for name in names for pattern, says in _TWO_READINGS if re.fullmatch(pattern, name))
    return next((f"{name!r} can be {says}" for name, says in found), None)


def _origins(model: LanguageModel | None) -> dict[str, _PlaceOf]:
    origins: dict[str, _PlaceOf] = {HOOKS: partial(_hook, model), LLAMA_CPP: _llama_cpp}
    return origins if model is None else {**origins, "outputs of modules": partial(module_place, model)}


def _hook(model: LanguageModel | None, name: str) -> Place | None:
    """The place of a hook; that of the embedding is layer 0 where the model adds nothing to its rows.

    Keys that the model does not turn are keys, whatever the hook would tell apart.
    """
    if name == "hook_embed" and model is not None:
        return _outside(model, model.module.get_input_embeddings(), entering=False)
    place = _by(_HOOKS)(name)
    if place is None or model is None or place.site != "keys-unrotated" or not isinstance(place.layer, int):
        return place
    unturned = place.layer < model.layers and not turns_keys(model, place.layer)
    return Place("keys", place.layer) if unturned else place


def _by(patterns: Sequence[tuple[str, str, int]]) -> _PlaceOf:
    def place_of(name: str) -> Place | None:
        for pattern, site, more in patterns:
            if found := re.fullmatch(pattern, name):
                return Place(site, int(found[1]) + more)
        return None

    return place_of


def _llama_cpp(name: str) -> Place | None:
    return Place("residual", "final") if name == "result_norm" else _by(_LLAMA_CPP)(name)


def module_place(model: LanguageModel, name: str) -> Place | None:
    """The place that a path such as `model.layers.3.output.0` or `transformer.h[3]` leads to in the model, if any.

    Without a side the output is meant, as hooks take it. Modules may be called `output`, too: a path that leads to one
    place as that of a module, and to another as that of a side, leads to none.
    """
    parts = re.sub(r"\[(\d+)\]", r".\1", name).split(".")
    found = {_place_at(model, module, side) for path, side in _sides(parts) for module in _modules(model, path)}
    return found.pop() if len(found) == 1 else None


def _sides(parts: list[str]) -> Iterator[tuple[list[str], str]]:
    """What a path may be: that of a module, or with a side of one behind it, and the first of what it has there."""
    yield parts, "output"
    last = max((at for at, part in enumerate(parts) if part in {"input", "output"}), default=0)
    behind = [part for part in parts[last + 1 :] if part not in _FIRST]
    if last and all(part.isdigit() for part in behind) and behind[:1] in ([], ["0"]):
        yield parts[:last], parts[last]


def _modules(model: LanguageModel, path: list[str]) -> Iterator[nn.Module]:
    """The module at a path, in front of which a program may have put a name of its own."""
    for start in range(min(2, len(path))):
        with suppress(AttributeError):
            yield model.module.get_submodule(".".join(path[start:]))
            return


def _place_at(model: LanguageModel, module: nn.Module, side: str) -> Place | None:
    """The place of what a module returns or is called with."""
    entering = side == "input"
    index = next((index for index, block in enumerate(model.decoder.blocks) if block is module), None)
    if index is not None:
        return Place("residual", index + (not entering))
    if module is model.decoder.body and not entering:
        return Place("residual", "final")
    half = None if entering else _half(model, module)
    return _outside(model, module, entering=entering) if half is None else half


def _outside(model: LanguageModel, module: Any, *, entering: bool) -> Place | None:
    """The place of what a module returns or is called with, where that is the stream, tried on a short prompt: what
    enters the first block, leaves the last one or comes out of the final norm, and around the block that it is in."""
    taken = list[torch.Tensor]()

    def keep(_module: Any, arguments: tuple[Any, ...], output: Any) -> None:
        with suppress(StopIteration):
            taken.append(first_tensor(arguments if entering else output).clone())  # some go on in place

    ids = model.ordinary_ids(_LENGTH)
    with torch.inference_mode(), hooked(lambda: [module.register_forward_hook(keep)]), Refusals():
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    if len(taken) != 1:
        return None
    around = {index + after for index, block in enumerate(model.decoder.blocks) if module in [*block.modules()]
              for after in (0, 1)}  # fmt: skip
    layers: list[Layer] = [*sorted({0, model.layers} | around), "final"]
    fits: list[Layer] = [
        layer for layer in layers if _has(model, layer) and torch.equal(taken[0], Network(model, layer).run(ids))
    ]
    return Place("residual", fits[0]) if len(fits) == 1 else None


def _has(model: LanguageModel, layer: Layer) -> bool:
    return layer != "final" or model.decoder.chain.final_width is not None


def _half(model: LanguageModel, module: Any) -> Place | None:
    """The place of what a module inside a block returns, where that is what attention or the MLP adds to the stream."""
    inside = [layer for layer, block in enumerate(model.decoder.blocks, start=1) if module in [*block.modules()]]
    for layer in inside:
        for half, reader in halves_of(model, layer).items():
            with suppress(StopIteration):  # the module returns no tensor
                if half != "mid" and _returns(model, module, reader):
                    return Place(half, layer)
    return None


def _returns(model: LanguageModel, module: Any, reader: Reader) -> bool:
    """Whether a module returns what a reader takes, once in a run, tried on a short prompt."""
    returned, taken = list[torch.Tensor](), list[torch.Tensor]()
    ids = model.ordinary_ids(_LENGTH)
    with (
        turn,
        torch.inference_mode(),
        AtModule(model, module, reader.depth).reading(returned.append),
        reader.reading(taken.append),
    ):
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    return len(returned) == len(taken) == 1 and torch.equal(returned[0], taken[0])


def _centred(place: Place, arrays: Sequence[torch.Tensor]) -> list[Place]:
    """The same, or `centred` where every row of the stream has mean 0, as TransformerLens makes it by default.

    Both where so few rows may have it by chance: which is then refused, whichever is read.
    """
    if place.site != "residual" or not without_mean(rows := torch.cat(list(arrays))):
        return [place]
    centred = Place("centred", place.layer)
    return [place, centred] if without_mean_by_chance(rows) else [centred]
