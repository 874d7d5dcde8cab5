"""States files: one T x d tensor per prompt in safetensors, checked before anything is allocated.

A manifest under the metadata key `sipit` says which model, layer and arithmetic the states come from, and never the
prompt. Files of other programs have none (`sipit.states.readers`): then whoever reads them names what is missing, and
`source` says what was read, and which token ids the file has beside the states.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from numerics.tensor_bytes import tensor_bytes
from proofs.arguments import path_of
from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import write_atomically
from sipit.models import LanguageModel
from sipit.observations.heads import with_heads_beside
from sipit.observations.latent import latent_rows
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation, named_layers
from sipit.observations.routes import routes_beside
from sipit.observations.top import unpacked
from sipit.states.arrays import as_arrays, check_finite, way_out
from sipit.states.manifest import Manifest, read_manifest
from sipit.states.readers.containers import Container, read_container
from sipit.states.readers.contents import Contents, Source, joined_source
from sipit.states.readers.reading import ENDINGS, cache_in, is_json, read_contents, read_place, states_in


@dataclass(frozen=True, slots=True, eq=False)
class States(Sequence[torch.Tensor]):
    """The states of several prompts as observed: a sequence of tensors of shape (T, n), in the captured dtype.

    They may be given as whatever numpy, torch or a list can mean (`sipit.states.arrays`), and `observation` in its
    words, such as "keys"; by default it is the residual stream at the layer. `layer` is that of the observation as
    records name it: one, a list of several, or None. Keys and values may also be given head by head (`beside`).
    """

    arrays: tuple[torch.Tensor, ...]
    layer: Any = None
    manifest: Manifest | None = None
    source: Source | None = None
    observation: Observation = None  # pyright: ignore[reportAssignmentType] - never None once it is made

    def __post_init__(self) -> None:
        given: Any = self.observation
        observation = Observation.of(given, self.layer)
        object.__setattr__(self, "observation", observation)
        object.__setattr__(self, "layer", observation.layer)
        object.__setattr__(self, "arrays", as_arrays(self.arrays, heads=observation.per_head, ids=observation.discrete))

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: Any) -> Any:
        return self.arrays[index]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.arrays)

    def __contains__(self, given: object) -> bool:
        return any(array is given for array in self.arrays)  # tensors are compared number by number, which is no answer

    @property
    def dtype(self) -> torch.dtype:
        """The least exact type involved: what the model computed in, or what the states are stored in."""
        stored = self.arrays[0].dtype
        computed = getattr(torch, self.manifest.dtype) if self.manifest is not None else stored
        return max(stored, computed, key=lambda dtype: torch.finfo(dtype).eps)

    def beside(self, model: LanguageModel) -> "States":
        """The same as the model has them: heads of keys and values side by side, log-probabilities by token, (T, n).

        Raises:
            InvalidInput: a tensor whose shape has no reading, or several.
            Unsupported: the model has no such tensor.
        """
        if self.observation.top is not None:
            rows, top = observed_network(model, self.observation).width, self.observation.top
            return self._as(unpacked(array, rows, top, number) for number, array in enumerate(self.arrays))
        if self.observation.sites == ("latent",) and len(self.observation.layers) == 1:
            return self._as(latent_rows(model, int(self.observation.layers[0]), self.arrays))
        if self.observation.discrete:
            return self._as(routes_beside(model, self.observation, self.arrays))
        if not self.observation.per_head or all(array.ndim == 2 for array in self.arrays):
            return self
        return self._as(with_heads_beside(model, self.observation, self.arrays))

    def _as(self, arrays: Iterable[torch.Tensor]) -> "States":
        """The same with its tensors read otherwise; what is told of their rows goes along."""
        read = tuple(arrays)
        source = None if self.source is None else replace(self.source, rows=tuple(map(len, read)))
        return replace(self, arrays=read, source=source)

    def check(self, model: LanguageModel) -> None:
        """Raises an error unless these can be states of this model that it inverts.

        Raises:
            InvalidInput: they cannot: digest, layer, width, shape or values.
            Unsupported: a prompt is so long that the model cannot run parts of it.
        """
        if self.observation.layered and not self.observation.layers:
            raise InvalidInput(f"Expected the layer of {self.observation.words}, but got none; name it.")
        check_states(self)
        width = observed_network(model, self.observation).width
        if self.manifest is not None and self.manifest.fingerprint is not None:
            raise InvalidInput("Expected states, but got fingerprints of some; audit them, or capture the states.")
        if self.manifest is not None:
            self.manifest.check_model(model)
        for number, array in enumerate(self.arrays):
            if array.ndim != 2 or array.shape[1] != width or not len(array):
                shape, streams = tuple(array.shape), model.decoder.chain.stream.streams
                raise InvalidInput(
                    f"Expected states of shape (T, {width}) with T >= 1 for {model.name}, but tensor {number} has "
                    f"shape {shape}; {way_out(shape, width, streams)}."
                )
            check_finite(f"tensor {number}", array)
            if model.limit is not None and len(array) > model.limit:
                raise InvalidInput(
                    f"Expected at most {model.limit} positions, the context of {model.name}, but tensor {number} "
                    f"has {len(array)}; check the model."
                )
            if not model.lengths.runs_in_parts(len(array)):
                raise Unsupported(
                    f"Expected at most {model.lengths.lengths[0]} positions, but tensor {number} has {len(array)}: "
                    f"{model.lengths.reason} in {model.name}, and parts of it cannot be run; use shorter prompts."
                )


def stored_truth(model: LanguageModel, states: States) -> tuple[tuple[int, ...], ...] | None:
    """The token ids that another program stored beside the states, to compare with; None where there are none.

    Raises:
        InvalidInput: ids that are none of the model's.
    """
    ids = None if states.source is None else states.source.token_ids
    wrong = [token for prompt in ids or () for token in prompt if not 0 <= token < model.vocabulary_size]
    if wrong:
        raise InvalidInput(
            f"Expected token ids below {model.vocabulary_size}, the vocabulary of {model.name}, but the file of states "
            f"has {wrong[0]}; name the model that they come from."
        )
    return ids


def source_entry(source: Source | None) -> dict[str, Any]:
    """What a record says of states that another program wrote: nothing where they are ours."""
    return {} if source is None else {"source": source.to_json()}


def check_states(states: Any) -> None:
    """Raises InvalidInput where something else than states with their layer was given, or those of no prompt."""
    if not isinstance(states, States):
        raise InvalidInput(
            f"Expected the states of prompts with their layer, but got a {type(states).__name__}; give what capture or "
            "read_states returns, or sipit.States(arrays, layer=…)."
        )
    if not states.arrays:
        raise InvalidInput("Expected the states of at least one prompt, but got none; capture some.")


def write_states(path: str | os.PathLike[str], states: States) -> None:
    """Writes a states file, whole or not at all, under zero-padded keys.

    Raises:
        InvalidInput: the file cannot be written, or does not end in .safetensors.
    """
    path = _path(path)
    if path.suffix != ".safetensors":
        raise InvalidInput(f"Expected a states file ending in .safetensors, but got {path}; rename it.")
    check_states(states)
    digits = max(6, len(str(len(states) - 1)))
    tensors = {f"{number:0{digits}d}": array for number, array in enumerate(states)}
    write_tensors(path, tensors, states.manifest)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], manifest: Manifest | None) -> None:
    """Writes tensors with their manifest, whole or not at all; InvalidInput where the file cannot be written."""
    metadata = {"sipit": json.dumps(asdict(manifest))} if manifest is not None else None
    write_atomically(path, tensor_bytes(tensors, metadata))


def read_states(
    path: str | os.PathLike[str],
    *,
    layer: Any = None,
    observe: Any = None,
    top: int | None = None,
    model: LanguageModel | None = None,
) -> States:
    """Reads a states file of ours, or one of another program (`sipit.states.readers`) with what is missing named.

    Of a folder all its states files are read, in natural order.

    Args:
        layer: where the states were taken; several name the sets of rows of a vLLM file, and the first is read.
        observe: the sites, as on the command line; the residual stream by default.
        top: how many log-probabilities of every position there are, as on the command line.
        model: whose states they may be; without one, stacks of layers and paths of modules cannot be told.

    Raises:
        InvalidInput: damaged, not states, no layer known, a layer or site that contradicts the manifest, several
            meanings, or files in one folder that were captured in different ways.
        Unsupported: a program's name for a part of a block that the model does not have.
    """
    found = look_into(path, layer=layer, observe=observe, top=top, model=model)
    seen, named = found.observation, _asked(observe, layer, top)
    layers = named_layers(layer) or named.layers
    if seen.layered and not seen.layers:
        what = "has no manifest of ours" if found.source is None else f"has none ({found.source.origin})"
        raise InvalidInput(f"Expected a layer, because {path} {what}, but got none; give --layer.")
    if found.manifest is not None and layers and layers != seen.layers:
        raise InvalidInput(
            f"Expected {seen}, where the states in {path} were captured, but got layer "
            f"{','.join(map(str, layers))}; leave --layer away."
        )
    if found.manifest is not None and observe is not None and (named.sites, named.top) != (seen.sites, seen.top):
        raise InvalidInput(
            f"Expected {seen.words}, which was observed in {path}, but got {named.words}; leave --observe away."
        )
    return States(found.arrays, manifest=found.manifest, source=found.source, observation=seen)


@dataclass(frozen=True, slots=True, eq=False)
class FileStates:
    """What a file or a folder holds: like `States`, but the layer may be unknown."""

    arrays: tuple[torch.Tensor, ...]
    observation: Observation
    manifest: Manifest | None = None
    source: Source | None = None


def look_into(
    path: Any, *, layer: Any = None, observe: Any = None, top: int | None = None, model: LanguageModel | None = None
) -> FileStates:
    """As `read_states`, but nothing is judged: no layer has to be known, and a manifest's goes before the one named.

    Raises:
        InvalidInput: as for `read_states`, but for the layer.
    """
    path = _path(path)
    if path.is_dir():
        return _joined(path, layer, observe, top, model)
    container = None if is_json(path) else read_container(path)
    if container is None or "sipit" not in container.metadata:
        named, asked = named_layers(layer), _asked(observe, layer, top)
        given = path if container is None else container
        contents = read_contents(given, named=named, heads=asked.per_head, ids=asked.discrete, model=model)
        return _foreign(path, contents, asked)
    manifest = read_manifest(path, container.metadata["sipit"])
    if manifest.layers is not None:
        container, manifest = _of_layer(container, manifest, named_layers(layer))
    return FileStates(_own_arrays(container), manifest.observed, manifest)


def manifest_of(path: Any) -> Manifest | None:
    """The manifest of a file of ours, or of the first in a folder; None where other programs wrote what is there.

    Raises:
        InvalidInput: no such file, or a damaged one.
    """
    ours = (one for one in _containers(path) if "sipit" in one.metadata)
    first = next(ours, None)
    return None if first is None else read_manifest(first.path, first.metadata["sipit"])


def floats_in(path: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors of a file, or of the files in a folder, wherever in a network they stand.

    Raises:
        InvalidInput: no such file, or a damaged one.
    """
    return (tensor.read() for one in _containers(path) for tensor in one.tensors if tensor.floating)


def _containers(path: Any) -> Iterator[Container]:
    """What a file, or every file in a folder, holds, unread; of JSON, which is no container, nothing."""
    path = _path(path)
    paths = states_in(path) if path.is_dir() else [path]
    return (read_container(one) for one in paths if not is_json(one))


def _path(path: Any) -> Path:
    return path_of("a states file", path)


def _asked(observe: Any, layer: Any, top: int | None) -> Observation:
    """What is asked for; of several layers that name the sets of rows of a file of the residual stream, the first."""
    layers = named_layers(layer)
    return Observation.of(observe, (layers[:1] if Observation.of(observe, top=top).plain else layers) or None, top)


def _foreign(path: Path, contents: Contents, observation: Observation) -> FileStates:
    arrays, source = read_place(path, contents, observation)
    return FileStates(arrays, source.read, source=source)


def _joined(folder: Path, layer: Any, observe: Any, top: int | None, model: LanguageModel | None) -> FileStates:
    """The states of all files in a folder; a key-value cache is one prompt in several files."""
    paths = states_in(folder)
    if not paths:
        raise InvalidInput(
            f"Expected states files ({', '.join(ENDINGS)}) in {folder}, but there are none; name another folder."
        )
    cache = cache_in(paths)
    if cache is not None:
        return _foreign(folder, cache, _asked(observe, layer, top))
    parts = [look_into(path, layer=layer, observe=observe, top=top, model=model) for path in paths]
    kinds = [(part.observation, part.manifest and _made_by(part.manifest)) for part in parts]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise InvalidInput(
                f"Expected states of one model, layer and arithmetic in {folder}, but {path.name} differs from "
                f"{paths[0].name}; sort them into folders."
            )
    arrays = tuple(array for part in parts for array in part.arrays)
    sources = [part.source for part in parts if part.source is not None]
    return FileStates(arrays, parts[0].observation, parts[0].manifest, joined_source(folder, sources))


def _made_by(manifest: Manifest) -> tuple[Any, ...]:
    """What the files of a folder have to have in common, beside what was observed."""
    return manifest.digest, manifest.dtype, manifest.fingerprint


def _own_arrays(container: Container) -> tuple[torch.Tensor, ...]:
    """The tensors (T, d) of a file of ours, or of one (N, T, d)."""
    tensors = container.tensors
    if not tensors:
        raise InvalidInput(
            f"Expected at least one tensor of states, but {container.path} has none; capture them again."
        )
    for tensor in tensors:
        stacked = len(tensors) == 1 and len(tensor.shape) == 3
        if not tensor.floating or not (len(tensor.shape) == 2 or stacked) or 0 in tensor.shape:
            raise InvalidInput(
                f"Expected floating-point tensors of shape (T, d), or one of shape (N, T, d), but {tensor} in "
                f"{container.path} is not; keep only the states in the file."
            )
    arrays = [tensor.read() for tensor in tensors]
    return tuple(arrays[0] if arrays[0].ndim == 3 else arrays)


def _of_layer(container: Container, manifest: Manifest, named: tuple[Any, ...]) -> tuple[Container, Manifest]:
    """The tensors of one layer of a file that holds several."""
    if len(named) != 1 or named[0] not in (manifest.layers or ()):
        held = ",".join(map(str, manifest.layers or ()))
        given = ",".join(map(str, named)) or "none"
        raise InvalidInput(
            f"Expected one of the layers {held} that {container.path} holds, but got {given}; name it with --layer."
        )
    (layer,) = named
    chosen = tuple(tensor for tensor in container.tensors if tensor.name.endswith(f".{layer}"))
    return replace(container, tensors=chosen), replace(manifest, layer=layer, layers=None, observation=None)
