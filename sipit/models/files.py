"""Which files of a directory or a hub id are a model, and which are an adapter. Only safetensors are ever read.

Needs no torch for a directory: a certificate is checked with the weights alone.
"""

import json
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LARGEST_JSON = 16 * 2**20  # bytes of a configuration or an index


def file_of(name: str, file: str) -> Path | None:
    """A file of a directory, or of a hub repository whose copy of it is fetched; None where there is none."""
    folder = Path(name)
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from transformers.utils.hub import cached_file

    from sipit.models.library import quiet

    try:
        with quiet():
            found = cached_file(
                name,
                file,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
    except (OSError, ValueError):
        return None  # no such repository, which is told where its configuration is asked for
    return None if found is None else Path(str(found))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder that hold the weights of a model, as the library chooses them.

    `model.safetensors`, else the shards of the index, else all but an adapter's.

    Raises:
        InvalidInput: an index that is none, or names a shard that is not there.
    """
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        return [file for file in sorted(folder.glob("*.safetensors")) if file.name != ADAPTER_WEIGHTS]
    shards = read_object(folder / _INDEX).get("weight_map")
    names: set[Any] = set(shards.values()) if isinstance(shards, dict) else set()
    if not names or not all(isinstance(shard, str) and Path(shard).name == shard for shard in names):
        raise InvalidInput(f"Expected an index of shards in {folder / _INDEX}, but got none; copy the model again.")
    missing = sorted(shard for shard in names if not (folder / shard).is_file())
    if missing:
        raise InvalidInput(
            f"Expected every shard that {folder / _INDEX} names, but {missing[0]} is not there; copy it again."
        )
    return [folder / shard for shard in sorted(names)]


def has_weights(name: str) -> bool:
    """Whether a directory or a hub id holds the weights of a model, and not of an adapter alone."""
    if Path(name).is_dir():
        return bool(weight_files(Path(name)))
    return any(file_of(name, file) is not None for file in (_SINGLE, _INDEX))


def check_weights(folder: Path) -> None:
    """Raises InvalidInput where a folder has no safetensors weights of a model, or damaged ones."""
    files = weight_files(folder)
    if not files:
        raise InvalidInput(
            f"Expected safetensors weights in {folder}, but there are none; pickle files are refused: "
            "convert them with save_pretrained."
        )
    for file in files:
        read_header(file)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidInput: not readable, absurdly large, or no JSON object.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise InvalidInput(f"Expected at most {_LARGEST_JSON} bytes of JSON, but {path} is larger; write it again.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"Expected a readable file, but {path} is not: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        data = None
    if not isinstance(data, dict):
        raise InvalidInput(f"Expected a JSON object, but {path} holds none; write it again.")
    return data
