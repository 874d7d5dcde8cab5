"""Tensors whose keys mean nothing: one table of rows per prompt, or a stack whose axes have to be told apart.

A stack (N, T, d) is N prompts. `hidden_states` of `transformers`, stacked, is (L+1, T, d), (N, L+1, T, d) or
(L+1, N, T, d), and its last layer stands behind the final norm. Which of them a stack is, is tried: only the embedding
has first rows that are the embedding's of some token. What stays open is refused with its readings.
"""

import re
from collections.abc import Sequence

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.models.network import Layer, Network
from sipit.states.readers.companions import Companions, stands_beside
from sipit.states.readers.containers import LAYER_WORDS, PART_WORDS, Container, Stored, check_numbers
from sipit.states.readers.contents import UNPLACED, Contents, Place

PLAIN = "tensors of rows"
STACK = "stacked hidden_states of transformers, the last after the final norm"
_LAYERED = re.compile(rf"(?:^|[^a-z])(?:(?:{LAYER_WORDS})[._/-]?\d+|(?:{PART_WORDS})[._/-]?\d+$)", re.IGNORECASE)
_KEY, _VALUE = (re.compile(rf"(?:^|[^a-z])(?:{word})(?:[^a-z]|$)") for word in PART_WORDS.split("|"))
_NEAR = 0.02  # relative distance of a row of the embedding from itself, in any number type that states come in
_BATCH = 4096


def stacked_states(container: Container, model: LanguageModel | None) -> Contents:
    """The prompts of a file whose keys mean nothing, at a layer that it does not name, or at each of a stack.

    Raises:
        InvalidInput: no states, or a shape or keys with two readings.
    """
    check_numbers(container.path, container.tensors)
    floats = [tensor for tensor in container.tensors if tensor.floating and not stands_beside(tensor)]
    wrong = [tensor for tensor in floats if not _may_be_states(tensor, alone=len(floats) == 1)]
    if wrong or not floats:
        wrong = wrong or list(container.tensors)
        got = f"{wrong[0]} in {container.path} is not" if wrong else f"{container.path} has none"
        raise InvalidInput(
            f"Expected floating-point tensors of shape (T, d), or one of shape (N, T, d), but {got}; {_way_out(wrong)}."
        )
    _check_rows(container, floats, model)
    companions = Companions.of(container)
    tables = [tensor.read() for tensor in floats]
    if len(tables) == 1 and tables[0].ndim == 4:
        return _of_layers(container, floats[0], tables[0], companions, model)
    _check_of_prompts(container, floats)
    sheets = list(tables[0]) if len(tables) == 1 and tables[0].ndim == 3 else [_one(table) for table in tables]
    whole = len(tables) == 1 and tables[0].ndim == 3
    alike = len(sheets) > 1 and len({sheet.shape for sheet in sheets}) == 1
    if model is not None and alike and len(sheets) == model.layers + 1 and sheets[0].shape[1] == model.width:
        first = embedded(model, torch.stack([sheet[0] for sheet in sheets])).tolist()
        if first == [True] + [False] * model.layers:
            return _stack(container, torch.stack(sheets)[None], companions)
    if whole and floats[0].name == "hidden_states" and not companions.ids:
        _check_no_engine(container, floats[0], model)
    arrays = companions.without_padding(sheets, container)
    return Contents(PLAIN, {UNPLACED: arrays}, companions.ids_of(arrays, container))


def _check_rows(container: Container, floats: Sequence[Stored], model: LanguageModel | None) -> None:
    """Raises InvalidInput, before anything is read, where a table has more rows than a prompt of the model tokens."""
    longest = max((tensor.shape[0] for tensor in floats if len(tensor.shape) == 2), default=0)
    if model is not None and model.limit is not None and longest > model.limit:
        raise InvalidInput(
            f"Expected at most {model.limit} positions, the context of {model.name}, but a tensor in {container.path} "
            f"has {longest}; check the model."
        )


def tables_with_axes(container: Container, *, whole: bool = False) -> Contents:
    """The prompts of a file of keys or values, or of whole numbers, whose axes are told apart beside a model.

    Raises:
        InvalidInput: a tensor that has no such axes.
    """
    numbers = {t.name for t in container.tensors if (t.floating and not stands_beside(t)) or (whole and t.whole)}
    wrong = [t for t in container.tensors if t.name not in numbers or not 2 <= len(t.shape) <= 4 or 0 in t.shape]
    if wrong or not container.tensors:
        got = f"{wrong[0]} in {container.path} is not" if wrong else f"{container.path} has none"
        kind = "tensors" if whole else "floating-point tensors"
        raise InvalidInput(f"Expected {kind} of two to four axes, one a prompt, but {got}; keep only these.")
    _check_of_prompts(container, container.tensors)
    return Contents(PLAIN, {UNPLACED: tuple(tensor.read() for tensor in container.tensors)})


def embedded(model: LanguageModel, rows: torch.Tensor) -> torch.Tensor:
    """Which rows (n, d) are those of the embedding at position 0, layer 0, for some token."""
    network = Network(model, 0)
    given = rows.to(model.device).double()
    least = torch.full((len(given),), torch.inf, dtype=torch.float64, device=given.device)
    for part in torch.arange(model.vocabulary_size, device=model.device).split(_BATCH):
        least = torch.minimum(least, torch.cdist(given, network.run(part[:, None])[:, 0].double()).amin(1))
    return least <= _NEAR * given.norm(dim=1)


def _check_of_prompts(container: Container, tensors: Sequence[Stored]) -> None:
    """Refuses several tensors whose names say that they are something else than prompts at one place."""
    names = [tensor.name for tensor in tensors]
    if len(names) > 1 and all(map(_LAYERED.search, names)):
        raise InvalidInput(
            f"Expected keys of prompts, or of modules of the model, but {names[0]!r} and others in "
            f"{container.path} can be {len(names)} prompts at one layer, or {len(names)} layers of one prompt; keep "
            "one layer, or name the keys for prompts, such as prompt0."
        )
    words = [name.lower().replace("key_values", "") for name in names]
    keys, values = ([name for name in words if kind.search(name)] for kind in (_KEY, _VALUE))
    if {*keys} - {*values} and {*values} - {*keys}:
        raise InvalidInput(
            f"Expected one tensor for each prompt, but {names[0]!r} and {names[1]!r} in {container.path} can be keys "
            "and values of one; keep one of them, or put them side by side, (T, n), for --observe keys,values."
        )


def _may_be_states(tensor: Stored, *, alone: bool) -> bool:
    axes = len(tensor.shape)
    return 0 not in tensor.shape and (axes == 2 or (alone and axes in (3, 4)) or (axes == 3 and tensor.shape[0] == 1))


def _way_out(wrong: Sequence[Stored]) -> str:
    """What to do with tensors that are no states: whole numbers may be ones that were scaled, or bits of floats."""
    if wrong and all(tensor.whole for tensor in wrong):
        return "undo their scale, or view their bits as the floats that they are, such as bfloat16, and save floats"
    return "keep only the states in the file"


def _one(table: torch.Tensor) -> torch.Tensor:
    return table[0] if table.ndim == 3 else table


def _of_layers(
    container: Container, stored: Stored, table: torch.Tensor, companions: Companions, model: LanguageModel | None
) -> Contents:
    """A stack of four axes: prompts and layers, in the order that the rows of the embedding tell."""
    if model is None:
        raise InvalidInput(f"Expected a model to tell prompts from layers in {stored} of {container.path}; name it.")
    number = model.layers + 1
    named = [axis for axis in (1, 0) if table.shape[axis] == number and table.shape[3] == model.width]
    if named:
        first = embedded(model, table[:, :, 0].flatten(0, 1)).view(table.shape[:2])
        fits = [axis for axis in named if _only_first(first if axis == 1 else first.T)]
        if len(fits) == 1:
            return _stack(container, table if fits == [1] else table.transpose(0, 1), companions)
    raise InvalidInput(
        f"Expected {number} layers of {model.name}, the embedding first, but {stored} in {container.path} can be "
        f"{table.shape[0]} prompts of {table.shape[1]} layers or {table.shape[0]} layers of {table.shape[1]} prompts, "
        "and its rows tell neither; save one layer, (N, T, d)."
    )


def _only_first(first: torch.Tensor) -> bool:
    return bool(first[:, 0].all()) and not bool(first[:, 1:].any())


def _stack(container: Container, table: torch.Tensor, companions: Companions) -> Contents:
    """The places of a table (N, L+1, T, d)."""
    number = table.shape[1]
    names: list[Layer] = [*range(number - 1), "final"]
    places = {
        Place("residual", layer): companions.without_padding(table[:, index], container)
        for index, layer in enumerate(names)
    }
    return Contents(STACK, places, companions.ids_of(places[Place("residual", 0)], container))


def _check_no_engine(container: Container, stored: Stored, model: LanguageModel | None) -> None:
    """Refuses what vLLM may have written, too, and has lost its token ids."""
    first, second, _ = stored.shape
    if model is None or second <= model.layers + 1:
        raise InvalidInput(
            f"Expected token_ids beside {stored} in {container.path}, which can be {first} prompts of {second} tokens, "
            f"or {second} layers of {first} tokens as vLLM writes them, but got none; keep vLLM's token_ids, or name "
            "the tensor states."
        )
