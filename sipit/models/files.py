"""Files of a directory or a hub id, and the JSON in them, read with care.

Needs no torch for a directory: a certificate is checked with the weights alone.
"""

import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.files import whole_file
from proofs.network.tensor_file import StoredTensor, check_pointer

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_LARGEST_JSON = 16 * 2**20  # bytes of a configuration or an index
_AT_ONCE = 2**24  # bytes of a tensor


def file_of(name: str, file: str) -> Path | None:
    """A file of a directory, or of a hub repository whose copy of it is fetched; None where there is none."""
    if os.path.isdir(name):
        found = Path(name, file)
        return found if found.is_file() else None
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


def sha256_of(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def bytes_of(path: Path, tensor: StoredTensor) -> Generator[bytes]:
    """What a file holds of a tensor, piece by piece: of tensors of one size the pieces are of the same lengths.

    Raises:
        InvalidInput: the file has become shorter since its header was read.
    """
    with path.open("rb") as stream:
        stream.seek(tensor.start)
        for at in range(tensor.start, tensor.end, _AT_ONCE):
            size = min(tensor.end - at, _AT_ONCE)
            piece = stream.read(size)
            if len(piece) < size:
                raise InvalidInput(f"Expected {path} to stay, but it changed while it was read; load it again.")
            yield piece


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidInput: not readable, absurdly large, a pointer of Git LFS, or no JSON object.
    """
    try:
        check_pointer(path)
        content = whole_file(path, most=_LARGEST_JSON)
        if content is None:
            raise InvalidInput(f"Expected at most {_LARGEST_JSON} bytes of JSON, but {path} is larger; write it again.")
        data = json.loads(content.decode())
    except OSError as error:
        raise InvalidInput(f"Expected a readable file, but {path} is not: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        data = None
    if not isinstance(data, dict):
        raise InvalidInput(f"Expected a JSON object, but {path} holds none; write it again.")
    return data
