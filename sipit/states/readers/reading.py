"""Reads a file of states by whatever program wrote it: what it holds, and which of it was asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from proofs.errors import InvalidInput
from proofs.evidence import is_record
from proofs.files import beginning
from sipit.models import LanguageModel
from sipit.models.network import Layer
from sipit.observations.observation import Observation
from sipit.states.readers.containers import Container, files_in, natural, read_container
from sipit.states.readers.contents import UNPLACED, Contents, Place, Source
from sipit.states.readers.named import named_places, two_readings
from sipit.states.readers.sglang import read_sglang
from sipit.states.readers.stacked import stacked_states, tables_with_axes
from sipit.states.readers.vllm import vllm_cache, vllm_states

ENDINGS = (".safetensors", ".npy", ".npz", ".gguf", ".json")
_ANSWER = b'"meta_info"'
_AT_ONCE = 2**20  # bytes that are searched for it


def read_contents(
    given: Path | Container,
    *,
    named: Sequence[Layer] = (),
    heads: bool = False,
    ids: bool = False,
    model: LanguageModel | None = None,
) -> Contents:
    """Everything that a file holds, place by place.

    Args:
        given: the file, or its tensors, unread.
        named: the layers that whoever reads it has named.
        heads: whether tensors may be given head by head, with axes that only the model tells apart.
        ids: whether the numbers of the tensors are ids of experts.
        model: whose states they are said to be; without one, stacks and module paths cannot be told.

    Raises:
        InvalidInput: not a file of states, damaged, or with several meanings.
    """
    if isinstance(given, Path) and is_json(given):
        expect_no_record(given)
        return read_sglang(given)
    container = read_container(given) if isinstance(given, Path) else given
    return (
        vllm_states(container, named, model)
        or vllm_cache([container])
        or named_places(container, model)
        or (tables_with_axes(container, whole=ids) if heads or ids else _stacked(container, model))
    )


def _stacked(container: Container, model: LanguageModel | None) -> Contents:
    """Tensors whose keys place nothing; those that can mean two things say which."""
    found, readings = stacked_states(container, model), two_readings(container)
    return found if readings is None else replace(found, origin=readings)


def read_place(path: Path, contents: Contents, observation: Observation) -> tuple[tuple[torch.Tensor, ...], Source]:
    """What is observed, one tensor (T, n) per prompt, and what was read.

    A file that names no place is read at the one that is asked for; one that has a site at a single layer needs no
    layer.

    Raises:
        InvalidInput: no such place in the file, or several and none was named, or those that are read together, or
            the token ids, are not of the same rows.
        Unsupported: a program's name for a part of a block that the model does not have.
    """
    places = contents.places
    if UNPLACED in places:
        arrays = places[UNPLACED]
    else:
        observation = _placed(path, contents, observation)
        wanted = [Place(site, layer) for site in observation.sites for layer in observation.layers]
        missing = [place for place in wanted if place not in places]
        if missing:
            raise InvalidInput(
                f"Expected {missing[0]}, but {path} ({contents.origin}) holds {_listed(places)}; name one of these."
            )
        _check_alike(path, contents, wanted)
        for place in wanted:
            contents.check(place)
        parts = zip(*(places[place] for place in wanted), strict=True)
        arrays = tuple(rows[0] if len(rows) == 1 else torch.cat(rows, dim=1) for rows in parts)
    held = tuple(place for place in places if place is not UNPLACED)
    source = Source(str(path), contents.origin, observation, held, tuple(map(len, arrays)), contents.token_ids)
    return arrays, source


def _check_alike(path: Path, contents: Contents, wanted: Sequence[Place]) -> None:
    """Raises InvalidInput where places do not have as many rows of as many prompts as the first."""
    lengths = {place: [len(rows) for rows in contents.places[place]] for place in wanted}
    other = next((place for place in wanted if lengths[place] != lengths[wanted[0]]), None)
    if other is not None:
        raise InvalidInput(
            f"Expected rows of the same tokens at every place that is read, but {path} ({contents.origin}) has "
            f"{lengths[wanted[0]][:8]} of {wanted[0]} and {lengths[other][:8]} of {other}; save all of one run, or "
            "name one of them."
        )


def _placed(path: Path, contents: Contents, observation: Observation) -> Observation:
    """The observation with the layer that the file has of its sites, where it has one and none was named."""
    if observation.layers:
        return observation
    layers = {place.layer for place in contents.places if place.site in observation.sites}
    if len(layers) != 1 or None in layers:
        raise InvalidInput(
            f"Expected one place to read, but {path} ({contents.origin}) holds {_listed(contents.places)}; name one "
            f"with --layer{'' if layers else ' and --observe'}."
        )
    return replace(observation, layers=tuple(layer for layer in layers if layer is not None))


def states_in(folder: Path) -> list[Path]:
    """The states files of a folder, in the order in which they are read.

    Of JSON these are the answers of SGLang: records of runs on the same states may stand beside them.
    """
    return [path for path in files_in(folder, ENDINGS) if path.suffix != ".json" or _may_be_answer(path)]


def _may_be_answer(path: Path) -> bool:
    """Whether a file is no JSON, about which whoever reads it will say so, or has the word that every answer has."""
    if not is_json(path):
        return True
    before = b""
    with path.open("rb") as stream:
        while part := stream.read(_AT_ONCE):
            if _ANSWER in before + part:
                return True
            before = part[-len(_ANSWER) :]
    return False


def cache_in(paths: Sequence[Path]) -> Contents | None:
    """The key-value cache of one prompt that stands in several files, one a layer; None where they are something else.

    Raises:
        InvalidInput: damaged files, or names and shapes that do not belong together.
    """
    if len(paths) < 2 or any(path.suffix != ".safetensors" for path in paths):
        return None
    return vllm_cache([read_container(path) for path in paths])


def is_json(path: Path) -> bool:
    """Whether a file begins as JSON does."""
    try:
        start = beginning(path)
    except OSError:
        return False
    return start.lstrip()[:1] in {b"{", b"["} and b"\0" not in start  # the length that safetensors begin with has zeros


def expect_no_record(path: Path) -> None:
    """Raises InvalidInput where a record of ours is given for states: it tells of them, and does not hold them."""
    try:
        found = is_record(path)
    except OSError:
        return  # which is told where it is read
    if found:
        raise InvalidInput(
            f"Expected states, but {path} is a record of sipit, which holds none; name the file that sipit capture "
            "wrote with -o, ending in .safetensors."
        )


def _listed(places: Iterable[Place]) -> str:
    names = sorted(map(str, places), key=natural)
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:8])} and {len(names) - 8} others"
