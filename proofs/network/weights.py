"""The weights that a claim is about: checked arrays, their digest, and reading them from safetensors without torch."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arguments import nothing_hidden
from proofs.errors import InvalidInput
from proofs.network.graph import Graph
from proofs.network.tensor_file import StoredTensor, read_header

_KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_PIECE = 2**20  # entries hashed at a time


def checked_weights(graphs: Iterable[Graph], weights: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The parameters that the graphs use, as arrays of floats of their shapes.

    Raises:
        InvalidInput: a weight is missing, of another shape, not of floats, or not finite.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, type_ in {item for graph in graphs for item in graph.parameters()}:
        if name not in weights:
            raise InvalidInput(f"Expected the weight {name!r}, but it is missing; give those of the captured model.")
        array = _array(name, weights[name])
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise InvalidInput(
                f"Expected {name!r} as floats, but got {array.dtype}; its values are hidden: dequantise."
            )
        if array.shape != type_.shape:
            raise InvalidInput(f"Expected {name!r} of shape {type_.shape}, but got {array.shape}; give other weights.")
        if not np.isfinite(array).all():
            raise InvalidInput(f"Expected finite weights, but {name!r} holds an infinity or NaN; the model is damaged.")
        found[name] = array
    return dict(sorted(found.items()))


def weights_digest(weights: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What a certificate says of its weights: the sha256 over names, shapes and values, each widened to float64."""
    total = hashlib.sha256()
    for name, array in sorted(weights.items()):
        total.update(f"{name}|{list(array.shape)}|".encode())
        flat = array.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            total.update((flat[start : start + _PIECE].astype("<f8") + 0.0).tobytes())
    return {"sha256": total.hexdigest(), "parameters": len(weights)}


def read_weights(files: Sequence[Path], names: Mapping[str, Sequence[str]]) -> dict[str, NDArray[Any]]:
    """Parameters from safetensors files, without torch; bfloat16 is widened, float32 is mapped, not copied.

    Args:
        files: the shards.
        names: for every parameter the names that it may be stored under, tied ones included.

    Raises:
        InvalidInput: a file is damaged, or a parameter is in none of them.
    """
    stored: dict[str, tuple[Path, StoredTensor]] = {}
    for path in files:
        stored |= {tensor.name: (path, tensor) for tensor in read_header(path).tensors}
    result: dict[str, NDArray[Any]] = {}
    for name, others in names.items():
        place = next((stored[other] for other in (name, *others) if other in stored), None)
        if place is None:
            raise InvalidInput(f"Expected the weight {name!r}, but no file has it; name another model with --model.")
        result[name] = _read(*place)
    return result


def _read(path: Path, tensor: StoredTensor) -> NDArray[Any]:
    if tensor.dtype == "BF16":
        halves = np.memmap(path, dtype="<u2", mode="r", offset=tensor.start, shape=tensor.shape)
        return (halves.astype("<u4") << 16).view("<f4")
    if tensor.dtype not in _KINDS:
        raise InvalidInput(f"Expected weights as floats, but {tensor.name!r} is {tensor.dtype}; dequantise the model.")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype=_KINDS[tensor.dtype])
    return np.memmap(path, dtype=_KINDS[tensor.dtype], mode="r", offset=tensor.start, shape=tensor.shape)


def _array(name: str, given: Any) -> NDArray[Any]:
    nothing_hidden(repr(name), given)
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"Expected {name!r} as an array, but numpy makes none of it ({str(error).splitlines()[0]}); widen it first."
        ) from None
