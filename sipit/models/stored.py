"""Where in a folder the weights of a model lie, as the library chooses them; what is missing is named.

Nothing else in the folder counts: not a file of states beside them, not a second copy. Needs no torch.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput, Unsupported
from proofs.network.tensor_file import read_header
from sipit.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX, SINGLE, file_of, read_object

_VARIANT = re.compile(r"model(?:\.safetensors\.index)?\.([\w-]+?)(?:\.safetensors|\.json)")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
_ADAPTED = re.compile(r"\.lora_|\.(?:lora|hada|lokr|ia3|oft|vera)_\w+\b")  # names of what adapters add to a weight
_NO_WEIGHTS = frozenset({"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64"})  # types that no layer computes with
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")  # how files of weights end that are not read
# What a training run keeps beside a model, in files that end like those of weights and hold none.
_BESIDE = re.compile(
    r"(?:training_args|optimizer|scheduler|scaler|sampler|dl_state_dict|rng_state)(?:_\d+)*\.(?:bin|pt|pth)"
)
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")  # as the library writes and looks for them
_LISTED = 3  # names of files in a sentence


@dataclass(frozen=True, slots=True)
class Stored:
    """The safetensors files that hold a model, and the variant, such as fp16, that their names say; no files: none."""

    files: tuple[Path, ...] = ()
    variant: str | None = None


def gguf_file(name: str) -> Path | None:
    """The GGUF file that a name is, or that a folder has instead of other weights; None where there is none.

    Raises:
        InvalidInput: a folder with several.
    """
    path = Path(name)
    if path.suffix == ".gguf" and path.is_file():
        return path
    if not path.is_dir() or stored_weights(path).files:
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise InvalidInput(
            f"Expected one GGUF file in {name}, but there are {len(files)}; name one of them, such as {files[0]}."
        )
    return files[0] if files else None


def stored_weights(folder: Path) -> Stored:
    """`model.safetensors`, else the shards of the index, else the one variant of either.

    Raises:
        InvalidInput: an index that is none, shards that are not there or hold a weight twice, or several variants.
    """
    for name, index in ((SINGLE, False), (INDEX, True)):
        if (folder / name).is_file():
            return Stored(_shards(folder / name) if index else (folder / name,))
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("model*")):
        match = _VARIANT.fullmatch(path.name)
        if match is not None and path.is_file() and not _SHARD.fullmatch(path.name):
            found.setdefault(match[1], path)
    if len(found) > 1:
        raise InvalidInput(
            f"Expected the weights of one model in {folder}, but there are the variants {', '.join(found)}; keep one "
            f"of them, or call it {SINGLE}."
        )
    for variant, path in found.items():
        return Stored(_shards(path) if path.suffix == ".json" else (path,), variant)
    return Stored()


def _shards(index: Path) -> tuple[Path, ...]:
    about = read_object(index)
    if not isinstance(about.get("metadata"), dict):
        raise InvalidInput(
            f'Expected an object under "metadata" in {index}, which the library asks for, but there is none; add '
            '"metadata": {} to it.'
        )
    shards = about.get("weight_map")
    listed: list[Any] = [*shards.values()] if isinstance(shards, dict) else []
    if not listed or not all(isinstance(shard, str) and shard and Path(shard).name == shard for shard in listed):
        raise InvalidInput(f"Expected an index of shards in {index}, but got none; copy the model again.")
    names = {*listed}
    missing = [shard for shard in sorted(names) if not (index.parent / shard).is_file()]
    if missing:
        raise InvalidInput(
            f"Expected the {len(names)} shards that {index} names, but {_listed(missing)} not there; copy them again."
        )
    files = tuple(index.parent / shard for shard in sorted(names))
    _check_once(files)
    return files


def _check_once(files: Iterable[Path]) -> None:
    """Raises InvalidInput where two shards hold a weight of one name, of which the index names one at most."""
    held: dict[str, Path] = {}
    for file in files:
        for tensor in read_header(file).tensors:
            if tensor.name in held:
                raise InvalidInput(
                    f"Expected every weight in one shard, but {tensor.name} is stored in {held[tensor.name]} and in "
                    f"{file.name}; copy the model again, or remove the one that is not meant."
                )
            held[tensor.name] = file


def not_gathered(file: Path | str, tensor: str) -> InvalidInput:
    """The error for a tensor without a number, as a sharded training run saves what it has not gathered."""
    return InvalidInput(
        f"Expected weights in {file}, but {tensor} is stored with no numbers, as a sharded training run saves what it "
        "has not gathered; gather them (DeepSpeed: zero_to_fp32.py), and save them again."
    )


def has_weights(name: str) -> bool:
    """Whether a directory or a hub id holds the weights of a model, and not of an adapter alone."""
    if Path(name).is_dir():
        return bool(stored_weights(Path(name)).files)
    return any(file_of(name, file) is not None for file in (SINGLE, INDEX))


def not_read(folder: Path) -> str | None:
    """The first file of a folder that says that weights belong to it, and is none that they are read from."""
    names = sorted(path.name for path in folder.iterdir())
    return next((name for name in names if _pickled(name) or name.endswith(".index.json")), None)


def _pickled(name: str) -> bool:
    """Whether a file of this name says that it holds weights in a form that is not read."""
    return name.endswith(_PICKLED) and _BESIDE.fullmatch(name) is None


def check_weights(folder: Path) -> Stored:
    """The files of a folder that has to hold a whole model, every header read.

    Raises:
        InvalidInput: none, damaged ones, a part of an adapter that would be passed over, or a distributed run's.
        Unsupported: an element type that no layer computes with.
    """
    distributed = sorted(path.name for path in folder.iterdir() if _DISTRIBUTED.fullmatch(path.name))
    if distributed:
        raise InvalidInput(
            f"Expected weights in {SINGLE} or {INDEX} of {folder}, but {distributed[0]} there is of a distributed run, "
            "which the library takes before either; move such shards away, or save the model whole."
        )
    stored = stored_weights(folder)
    if not stored.files:
        raise InvalidInput(_without_weights(folder))
    for file in stored.files:
        for tensor in read_header(file).tensors:
            if tensor.dtype in _NO_WEIGHTS and not names_quantisation(read_object(folder / "config.json")):
                raise Unsupported(
                    f"Expected weights that a layer computes with, but {tensor.name!r} in {file} is of type "
                    f"{tensor.dtype}; dequantise the model and save it in BF16."
                )
    _check_passed_over(folder, stored)
    return stored


def names_quantisation(said: dict[str, Any]) -> bool:
    """Whether a `config.json`, or a part of it, names a quantisation; one that is null is none."""
    return said.get("quantization_config") is not None


def _check_passed_over(folder: Path, stored: Stored) -> None:
    """Raises InvalidInput where an adapter lies beside the weights and nothing says how it is applied."""
    if (folder / ADAPTER_CONFIG).is_file():
        return
    for file in sorted({*folder.glob("*.safetensors"), *folder.glob("adapter_model.*")} - {*stored.files}):
        named = file.name.startswith("adapter_model.")
        if named or any(_ADAPTED.search(tensor.name) for tensor in _tensors(file)):
            raise InvalidInput(
                f"Expected weights alone, or an adapter with its configuration, but {file} lies beside the weights "
                "without adapter_config.json; add that, or move the adapter away."
            )


def _tensors(file: Path) -> tuple[Any, ...]:
    """What a file that is not read holds; nothing where it is none of safetensors."""
    try:
        return read_header(file).tensors
    except InvalidInput:
        return ()


def _without_weights(folder: Path) -> str:
    """Why a folder has no weights that can be read, from what it has instead."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    begin = f"Expected {SINGLE} or {INDEX} in {folder}, but"
    broken = sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists())
    if broken:
        return f"{begin} {broken[0]} is a link to a file that is not there; copy what its links lead to as well."
    inside = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/config.json"))
    if inside and "config.json" not in names:
        return f"{begin} there are models in folders of it; name one of them, such as {inside[0]}."
    if ADAPTER_WEIGHTS in names:
        return (
            f"Expected a model in {folder}, but there is an adapter without adapter_config.json; copy that too, and "
            "name the base in it."
        )
    if shards:
        stem, _, count = shards[0].groups()
        wanted = [f"{stem}-{number:05d}-of-{count}.safetensors" for number in range(1, min(int(count), 10**4) + 1)]
        missing = [name for name in wanted if name not in names]
        also = f", and {_listed(missing)} not there" if missing else ""
        return f"{begin} the index is missing beside {len(shards)} of {int(count)} shards{also}; copy it again."
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return f"{begin} there is only {', '.join(others[:_LISTED])}; call the file of the weights {SINGLE}."
    pickles = [name for name in names if _pickled(name)]
    if pickles:
        return f"{begin} there is {pickles[0]}, and pickle files are refused; convert it with save_pretrained."
    return f"{begin} there are no weights; copy the model again, or give the folder of a whole one."


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{shown}{rest} {'is' if len(names) == 1 else 'are'}"
