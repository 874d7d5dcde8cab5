"""Files that are read back by the program that wrote them: each carries the sha256 of what it holds.

So a file that a full disk, a crash or a bad sector has changed is seen, counts as missing, and is made again. It is no
signature: whoever can write into the cache can write a seal too.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header

if TYPE_CHECKING:
    import torch

_SEAL, _NOTE = "sha256", "note"


def sealed_json(data: dict[str, Any]) -> bytes:
    """A file of a JSON object: a line with its seal, then the object."""
    body = json.dumps(data).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def opened_json(path: Path) -> dict[str, Any] | None:
    """The object of a file; None where there is none, or it is not as it was written."""
    try:
        seal, _, body = path.read_bytes().partition(b"\n")
        data = json.loads(body) if seal == hashlib.sha256(body).hexdigest().encode() else None
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def sealed_tensors(tensors: "dict[str, torch.Tensor]", note: str = "") -> bytes:
    """A safetensors file of tensors, and of a note beside them."""
    from safetensors.torch import save

    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, {_SEAL: _seal(plain, note), _NOTE: note})


def opened_tensors(path: Path) -> "tuple[dict[str, torch.Tensor], str] | None":
    """The tensors of a file and its note; None where there is none, or it is not as it was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about = read_header(path).metadata
        tensors, note = load_file(path), about[_NOTE]
        return (tensors, note) if about[_SEAL] == _seal(tensors, note) else None
    except (InvalidInput, SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError):
        return None


def _seal(tensors: "dict[str, torch.Tensor]", note: str) -> str:
    import torch

    total = hashlib.sha256(note.encode(errors="surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        total.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode(errors="surrogatepass"))
        if tensor.numel():
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
