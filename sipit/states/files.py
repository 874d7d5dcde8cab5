"""States files: one T x d tensor per prompt, safetensors only, checked before anything is allocated.

A manifest under the metadata key `sipit` says which model, layer and arithmetic the states come from, and never the
prompt. Files by other tools have none: then the model and the layer are named by whoever reads them.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import write_atomically
from proofs.network.tensor_file import StoredTensor, read_header
from sipit.models import LanguageModel
from sipit.models.network import Layer, check_layer, whole_number
from sipit.states.arrays import as_arrays

STATES_SCHEMA = "sipit-states/1"
_FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where states come from; `dtype` is the type that the capturing model computed in, `bos` whether ids start so."""

    model: str
    digest: str
    layer: Layer
    norm: str
    dtype: str
    bos: bool
    versions: dict[str, str]
    schema: str = STATES_SCHEMA


@dataclass(frozen=True, slots=True)
class States(Sequence[torch.Tensor]):
    """The states of several prompts at one layer: a sequence of tensors of shape (T, d), in the captured dtype.

    They may be given as whatever numpy, torch or a list can mean (`sipit.states.arrays`).
    """

    arrays: tuple[torch.Tensor, ...]
    layer: Layer
    manifest: Manifest | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", as_arrays(self.arrays))
        object.__setattr__(self, "layer", whole_number(self.layer))

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: Any) -> Any:
        return self.arrays[index]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.arrays)

    @property
    def dtype(self) -> torch.dtype:
        """The least exact type involved: what the model computed in, or what the states are stored in."""
        stored = self.arrays[0].dtype
        computed = getattr(torch, self.manifest.dtype) if self.manifest is not None else stored
        return max(stored, computed, key=lambda dtype: torch.finfo(dtype).eps)

    def check(self, model: LanguageModel) -> None:
        """Whether these can be states of this model that it inverts.

        Raises:
            InvalidInput: they cannot: digest, layer, width, shape or values.
            Unsupported: a prompt is so long that the model cannot run parts of it.
        """
        check_layer(model, self.layer)
        if not self.arrays:
            raise InvalidInput("Expected the states of at least one prompt, but got none; capture some.")
        if self.manifest is not None and self.manifest.digest != model.digest:
            raise InvalidInput(
                f"Expected states of {model.name} (digest {model.digest[:16]}), but they were captured from "
                f"{self.manifest.model} (digest {self.manifest.digest[:16]}); name that model."
            )
        width = model.width_at(self.layer)
        for number, array in enumerate(self.arrays):
            if array.ndim != 2 or array.shape[1] != width or not len(array):
                raise InvalidInput(
                    f"Expected states of shape (T, {width}) with T >= 1 for {model.name}, but tensor {number} "
                    f"has shape {tuple(array.shape)}; check the model and how the states were saved."
                )
            finite = torch.isfinite(array).all(dim=1)
            if not bool(finite.all()):
                position = int(torch.nonzero(~finite)[0])
                raise InvalidInput(
                    f"Expected finite states, but tensor {number} of shape {tuple(array.shape)} has NaN or infinity at "
                    f"position {position}; capture it again, in a wider dtype if it overflowed."
                )
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


def check_states(states: Any) -> None:
    """Raises InvalidInput where something else than states with their layer was given."""
    if not isinstance(states, States):
        raise InvalidInput(
            f"Expected the states of prompts with their layer, but got a {type(states).__name__}; give what capture or "
            "read_states returns, or sipit.States(arrays, layer=…)."
        )


def write_states(path: str | os.PathLike[str], states: States) -> None:
    """Writes a states file, whole or not at all, under zero-padded keys.

    Raises:
        InvalidInput: the file cannot be written, or does not end in .safetensors.
    """
    from safetensors.torch import save

    path = _path(path)
    if path.suffix != ".safetensors":
        raise InvalidInput(f"Expected a states file ending in .safetensors, but got {path}; rename it.")
    digits = max(6, len(str(len(states) - 1)))
    tensors = {f"{number:0{digits}d}": array.cpu().contiguous() for number, array in enumerate(states)}
    metadata = {"sipit": json.dumps(asdict(states.manifest))} if states.manifest is not None else None
    write_atomically(path, save(tensors, metadata=metadata))


def read_states(path: str | os.PathLike[str], *, layer: Layer | None = None) -> States:
    """Reads a states file of ours, or any safetensors file of T x d tensors (or one N x T x d) with `layer` given.

    Of a folder all its states files are read, in natural order.

    Raises:
        InvalidInput: not safetensors, damaged, not states, no layer known, a layer that contradicts the manifest, or
            files in one folder that were captured in different ways.
    """
    path, layer = _path(path), whole_number(layer)
    if path.is_dir():
        return _joined(path, layer)
    arrays, manifest = read_arrays(path)
    if manifest is None and layer is None:
        raise InvalidInput(f"Expected a layer, because {path} has no manifest of ours, but got none; give --layer.")
    if manifest is not None and layer is not None and layer != manifest.layer:
        raise InvalidInput(
            f"Expected layer {manifest.layer}, where the states in {path} were captured, but got {layer}; "
            "leave --layer away."
        )
    chosen = manifest.layer if manifest is not None else layer
    assert chosen is not None  # one of the two is known, see above
    return States(arrays=arrays, layer=chosen, manifest=manifest)


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"Expected the path of a states file, but got a {type(path).__name__}; give its name.")
    return Path(path)


def _joined(folder: Path, layer: Layer | None) -> States:
    """The states of all files in a folder."""
    paths = sorted(folder.glob("*.safetensors"), key=lambda path: _natural(path.name))
    if not paths:
        raise InvalidInput(
            f"Expected states files (.safetensors) in {folder}, but there are none; name another folder."
        )
    parts = [read_states(path, layer=layer) for path in paths]
    kinds = [(part.layer, part.manifest and (part.manifest.digest, part.manifest.dtype)) for part in parts]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise InvalidInput(
                f"Expected states of one model, layer and arithmetic in {folder}, but {path.name} differs from "
                f"{paths[0].name}; sort them into folders."
            )
    return States(tuple(array for part in parts for array in part), parts[0].layer, parts[0].manifest)


def read_arrays(path: Path) -> tuple[tuple[torch.Tensor, ...], Manifest | None]:
    """The tensors (T, d) of a states file in order, and its manifest if it has one.

    Raises:
        InvalidInput: not safetensors, damaged, or not states.
    """
    from safetensors import safe_open

    header = read_header(path)
    manifest = _manifest(path, header.metadata.get("sipit"))
    _check_tensors(path, header.tensors)
    with safe_open(path, framework="pt") as stream:
        arrays = [
            stream.get_tensor(tensor.name)
            for tensor in sorted(header.tensors, key=lambda tensor: _natural(tensor.name))
        ]
    if len(arrays) == 1 and arrays[0].ndim == 3:
        arrays = list(arrays[0])
    return tuple(arrays), manifest


def _check_tensors(path: Path, tensors: tuple[StoredTensor, ...]) -> None:
    if not tensors:
        raise InvalidInput(f"Expected at least one tensor of states, but {path} has none; capture them again.")
    for tensor in tensors:
        stacked = len(tensors) == 1 and len(tensor.shape) == 3
        if tensor.dtype not in _FLOATS or not (len(tensor.shape) == 2 or stacked) or 0 in tensor.shape:
            raise InvalidInput(
                f"Expected floating-point tensors of shape (T, d), or one of shape (N, T, d), but {tensor.name!r} in "
                f"{path} is {tensor.dtype} of shape {tensor.shape}; keep only the states in the file."
            )


def _manifest(path: Path, text: str | None) -> Manifest | None:
    if text is None:
        return None
    try:
        data: Any = json.loads(text)
        texts = [data[name] for name in ("model", "digest", "norm", "dtype")]
        layer = data["layer"]
        sound = (
            data["schema"] == STATES_SCHEMA
            and (layer == "final" or type(layer) is int)
            and all(isinstance(part, str) for part in texts)
            and data["dtype"] in {"float64", "float32", "float16", "bfloat16"}
        )
        manifest = Manifest(**data) if sound else None
    except (ValueError, TypeError, KeyError, RecursionError):
        manifest = None
    if manifest is None:
        raise InvalidInput(f"Expected a manifest of schema {STATES_SCHEMA}, but {path} has another; capture it again.")
    return manifest


def _natural(name: str) -> list[Any]:
    """Sorts `layer2` before `layer10`: digits by value, the rest by letters."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
