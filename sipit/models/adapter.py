"""A folder with an adapter: what it says, checked before anything of it is used, and the base that it changes.

`adapter_config.json` comes from a stranger. Nothing that it names is imported, its tensors are read from safetensors
alone, and what it says of sizes is held against them later, in `sipit.models.merging`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput, Unsupported
from proofs.network.tensor_file import StoredTensor, read_header
from sipit.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, file_of, read_object
from sipit.models.stored import has_weights, not_gathered

# What an adapter may ask for that no change of the base's weights can stand for.
_REFUSED = {
    "alora_invocation_tokens": "acts only behind tokens that invoke it",
    "layer_replication": "repeats blocks of its base",
    "megatron_config": "needs another library to hold its base",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in the format of `peft`.

    `fields` is its configuration, `weights` the file with `tensors`, and `base` the directory or hub id of the model
    that it changes, `beside` whether that lies in the same place.
    """

    name: str
    fields: dict[str, Any]
    weights: Path
    tensors: tuple[StoredTensor, ...]
    base: str
    beside: bool

    @property
    def kind(self) -> str:
        """The method, as `peft` calls it, such as LORA."""
        return str(self.fields["peft_type"])


def find_adapter(name: str) -> Adapter | None:
    """The adapter of a directory or a hub id, or None where there is none.

    Raises:
        InvalidInput: an adapter without weights or numbers, without a base, or with a configuration that is none.
        Unsupported: an adapter that changes more than weights.
    """
    described = file_of(name, ADAPTER_CONFIG)
    if described is None:
        return None
    fields = read_object(described)
    if not isinstance(fields.get("peft_type"), str):
        raise InvalidInput(f"Expected a peft_type in {described}, but got {fields.get('peft_type')!r}; save it again.")
    for field, does in _REFUSED.items():
        if fields.get(field):
            raise Unsupported(
                f"Expected an adapter that changes weights alone, but {name} {does} ({field}); merge it into its base "
                "and name the merged model."
            )
    weights = file_of(name, ADAPTER_WEIGHTS)
    if weights is None:
        raise InvalidInput(
            f"Expected {ADAPTER_WEIGHTS} beside {described}, but it is not there, and pickle files are refused; "
            "save the adapter with safetensors, or take its configuration away."
        )
    tensors = read_header(weights).tensors
    empty = next((tensor.name for tensor in tensors if 0 in tensor.shape), None if tensors else "everything")
    if empty is not None:
        raise not_gathered(weights, empty)
    base, beside = _base(name, described.parent, fields)
    return Adapter(name, fields, weights, tensors, base, beside)


def _base(name: str, folder: Path, fields: dict[str, Any]) -> tuple[str, bool]:
    """The base: the weights in the same place, else the directory or hub id that the configuration names."""
    if file_of(name, "config.json") is not None and has_weights(name):
        return name, True
    given = fields.get("base_model_name_or_path")
    if not isinstance(given, str) or not given:
        raise _no_base(name, given)
    places = {path.resolve(): path for path in (folder / given, Path(given)) if os.path.isdir(path)}
    if len(places) > 1:
        first, second = places
        raise InvalidInput(
            f"Expected one base for the adapter {name}, but {given!r} is both {first} and {second}; write the path "
            f"that is meant into {ADAPTER_CONFIG}."
        )
    if not places and (given.startswith((".", "/", "~")) or given.count("/") > 1):
        raise _no_base(name, given)
    base = str(next(iter(places.values()))) if places else given
    if folder.resolve() in places or file_of(base, ADAPTER_CONFIG) is not None:
        raise InvalidInput(
            f"Expected a whole model as the base of the adapter {name}, but {given!r} is an adapter too; merge that "
            "into its base first."
        )
    if not places and fields.get("revision"):
        raise Unsupported(
            f"Expected the base of the adapter {name} as it is now, but it is revision {fields['revision']!r} of "
            f"{given}; fetch that, and write its path into base_model_name_or_path of {ADAPTER_CONFIG}."
        )
    return base, False


def no_base(adapter: Adapter) -> InvalidInput:
    """The error for an adapter whose base cannot be found."""
    return _no_base(adapter.name, adapter.base)


def _no_base(name: str, given: Any) -> InvalidInput:
    return InvalidInput(
        f"Expected the base of the adapter {name}, but {given!r} is neither a directory nor a reachable hub id; write "
        f"its path into base_model_name_or_path of {ADAPTER_CONFIG}."
    )
