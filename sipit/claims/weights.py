"""Where the weights of a certificate are, by their digest, so that `sipit verify` finds them without torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proofs.arguments import LARGEST_SEED
from proofs.errors import InvalidInput, SipitError, Unsupported
from proofs.network.graph import Graph
from proofs.network.tensor_file import read_header
from proofs.network.weights import read_weights, weights_digest
from sipit.cache import cache_folder, keep_json, kept_json
from sipit.models.files import ADAPTER_CONFIG
from sipit.models.names import BUILT_IN, EMBEDDED, is_folder
from sipit.models.stored import stored_weights

if TYPE_CHECKING:
    from sipit.models import LanguageModel

LARGEST_COPY = 2**31  # bytes of weights that are copied into the cache


def remember(
    model: "LanguageModel", digest: str, weights: Mapping[str, Any], tied: Mapping[str, Sequence[str]]
) -> None:
    """Notes in the cache where weights of this digest are; what no file holds as it is used is copied there.

    `tied` are the other names that a weight may be stored under.
    """
    import torch

    files = _files(model.name, {name: tied.get(name, ()) for name in weights})
    wider = {torch.float64: set[str](), torch.float32: {"F64"}}  # types whose values a model of this one has rounded
    if files and model.dtype in wider and not wider[model.dtype] & _types(files):
        keep_json(f"weights/{digest}.json", {"files": [str(file.resolve()) for file in files]})
        return
    target = cache_folder() / "weights" / f"{digest}.safetensors"
    too_large = sum(array.nbytes for array in weights.values()) > LARGEST_COPY
    if too_large or _held([target], digest, dict.fromkeys(weights, ())) is not None:
        return
    from safetensors.numpy import save

    from proofs.evidence import write_atomically

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, save({name: array.copy() for name, array in weights.items()}))
    except (OSError, InvalidInput):
        return  # a read-only cache only means that --model has to be named


def weights_of(model: "LanguageModel", graphs: Sequence[Graph]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The parameters that the graphs read, as arrays, and the other names of those that are tied.

    Raises:
        Unsupported: a parameter is missing or not of floats (a quantised module that hides its values).
    """
    import torch

    state: Mapping[str, torch.Tensor] = model.module.state_dict()
    found: dict[str, Any] = {}
    tied: dict[str, list[str]] = {}
    for name in sorted({name for graph in graphs for name, _ in graph.parameters()}):
        tensor = state.get(name)
        if tensor is None:
            raise Unsupported(
                f"Expected a model with values of {name!r}, but {model.name} has none; "
                "name the model that the graph is of, or dequantise it first."
            )
        if not tensor.is_floating_point() or type(tensor) is not torch.Tensor:
            kind = f"{type(tensor).__name__} of {tensor.dtype}"
            raise Unsupported(
                f"Expected the values of {name!r} as plain floats, but got {kind}; dequantise the model first."
            )
        found[name] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()
        others = [other for other, t in state.items() if other != name and t.data_ptr() == tensor.data_ptr()]
        if others:
            tied[name] = others
    return found, tied


def find(certificate: Mapping[str, Any], model: str | None, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that a certificate names, from a model named by hand or by their digest from the cache.

    With which seed and in which type a model was drawn or loaded is read of the `provenance`, which nobody vouches for:
    whether these are the weights, their digest decides.

    Raises:
        InvalidInput: they are nowhere, or the model named does not hold them.
    """
    written = certificate.get("graphs")
    graphs = [Graph.from_json(graph) for graph in (written if isinstance(written, list) else [])]
    about = certificate.get("weights")
    tied = about.get("tied") if isinstance(about, Mapping) else None
    others = (
        {name: entry for name, entry in tied.items() if isinstance(entry, list)} if isinstance(tied, Mapping) else {}
    )
    names = {name: tuple(map(str, others.get(name, ()))) for graph in graphs for name, _ in graph.parameters()}
    digest = str(about.get("sha256", "")) if isinstance(about, Mapping) else ""
    if model is None:
        return _known(digest, names)
    files = _files(model, names)
    stored = read_weights(files, names) if files else None
    if stored is not None and weights_digest(stored)["sha256"] == digest:
        return stored
    try:
        return _loaded(model, graphs, provenance)
    except (ImportError, SipitError):
        if stored is None:
            raise
        return stored  # which are not those of the digest


def _loaded(model: str, graphs: Sequence[Graph], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a model as it runs: drawn, put together, or rounded to the type that the record names."""
    from sipit.models.loading import DTYPES, load_model

    seed, dtype = provenance.get("seed"), provenance.get("dtype")
    seed = seed if type(seed) is int and 0 <= seed <= LARGEST_SEED else 0
    dtype = dtype if isinstance(dtype, str) and dtype in DTYPES else "float32"
    return weights_of(load_model(model, seed=seed, dtype=dtype), graphs)[0]


def _types(files: Sequence[Path]) -> set[str]:
    return {tensor.dtype for file in files for tensor in read_header(file).tensors}


def _files(model: str, names: Mapping[str, Sequence[str]]) -> list[Path]:
    """The safetensors files of a model that hold these weights as it runs; none where it is put together of them."""
    if model.removeprefix(BUILT_IN) == EMBEDDED and not is_folder(model):
        from sipit.models.smollm2 import smollm2_folder

        folder = smollm2_folder()
    else:
        folder = Path(model)
    if folder is None or not os.path.isdir(folder) or (folder / ADAPTER_CONFIG).is_file():
        return []
    files = list(stored_weights(folder).files)
    stored = {tensor.name for file in files for tensor in read_header(file).tensors}
    return files if all(stored & {name, *others} for name, others in names.items()) else []


def _known(digest: str, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The weights of a digest, from where the cache has them or knows them to be."""
    if not (len(digest) == 64 and all(c in "0123456789abcdef" for c in digest)):
        raise InvalidInput(
            "Expected a certificate that names its weights by sha256, but it does not; name another file."
        )
    copy = cache_folder() / "weights" / f"{digest}.safetensors"
    noted = (kept_json(f"weights/{digest}.json") or {}).get("files", [])
    for files in ([copy], [Path(file) for file in noted]):
        weights = _held(files, digest, names)
        if weights is not None:
            return weights
    raise InvalidInput(
        f"Expected the weights of digest {digest[:16]}…, but they are not on this machine; name the model with --model."
    )


def _held(files: Sequence[Path], digest: str, names: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    """Weights in files; None where they are not those of a digest: a damaged copy, or a model that has been changed."""
    try:
        weights = read_weights(files, names)
    except (InvalidInput, OSError):
        return None
    return weights if weights_digest(weights)["sha256"] == digest else None
