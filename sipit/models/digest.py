"""The digest that names a model: sha256 over its configuration and its stored tensors.

It is taken over what is stored, before any cast, so that a model loaded in bfloat16 and in float32 has one digest,
and states captured by one can be told from states of another model.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from proofs.network.tensor_file import read_header
from sipit.models.files import bytes_of

# Fields of a configuration that say who wrote it, not what the model computes.
_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}
# Fields of an adapter's configuration that say whose it is; its base is told by the base's digest.
_WHOSE = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}
_STORED = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def canonical_config(config: Any) -> bytes:
    """The fields of a `transformers` configuration that the computation depends on, as sorted JSON."""
    fields = {name: value for name, value in config.to_dict().items() if name not in _VOLATILE}
    return json.dumps(fields, sort_keys=True, default=str).encode()


def digest_of_tensors(config: Any, tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The digest of a model in memory; `tensors` are its named floating-point parameters, in any order."""
    total = hashlib.sha256(canonical_config(config))
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        data = tensor.detach().cpu().contiguous()
        total.update(f"{name}|{_STORED[data.dtype]}|{list(data.shape)}".encode())
        total.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def digest_of_files(config: Any, files: list[Path]) -> str:
    """The digest of a model in safetensors files, read in pieces; it does not depend on how they are sharded.

    Raises:
        InvalidInput: a file is not safetensors, its header does not fit its size, or it becomes shorter.
    """
    total = hashlib.sha256(canonical_config(config))
    _add_files(total, files)
    return total.hexdigest()


def digest_of_gguf(config: Any, reader: Any) -> str:
    """The digest of a model in a GGUF file: its tensors as they are stored there, by name; not what else it says."""
    total = hashlib.sha256(canonical_config(config))
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.name):
        total.update(f"{tensor.name}|{tensor.tensor_type.name}|{list(map(int, tensor.shape))}".encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()


def _add_files(total: Any, files: list[Path]) -> None:
    """Hashes the tensors of files, in the order of their names."""
    entries = [(tensor.name, tensor, path) for path in files for tensor in read_header(path).tensors]
    for name, tensor, path in sorted(entries, key=lambda entry: entry[0]):
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}".encode())
        for piece in bytes_of(path, tensor):
            total.update(piece)


def digest_of_adapter(fields: dict[str, Any], weights: Path, base: str) -> str:
    """The digest of a model that an adapter makes of a base with this digest.

    Raises:
        InvalidInput: the weights are not safetensors, their header does not fit the file, or they become shorter.
    """
    # What is a set for the library was written in any order.
    about = {
        name: sorted(value, key=str) if isinstance(value, list) else value
        for name, value in fields.items()
        if name not in _WHOSE
    }
    total = hashlib.sha256(json.dumps([base, about], sort_keys=True, default=str).encode())
    _add_files(total, [weights])
    return total.hexdigest()
