"""Where converted models, probes and measured noise are kept between runs.

The cache only saves time: where it cannot be written, or what it holds is not as it was written, the work is done
again. Files that are read back carry the sha256 of what they hold, so that one which a full disk, a crash or a bad
sector has changed is seen and counts as missing. It is no signature: whoever can write into the cache can write a seal.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from proofs.arguments import path_of
from proofs.errors import InvalidInput
from proofs.evidence import write_atomically
from proofs.network.tensor_file import read_header

if TYPE_CHECKING:
    import torch

# In the header of a file of tensors: its seal and its note, as one entry, since several have no order.
_SEALED = "sealed"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # of a lock that another process has


def cache_folder() -> Path:
    """The cache: `$SIPIT_CACHE`, else the user's cache directory. It may be missing or read-only.

    Raises:
        InvalidInput: `$SIPIT_CACHE` is no name that a folder can have, or is in a home folder that nobody knows.
    """
    chosen = os.environ.get("SIPIT_CACHE") or platformdirs.user_cache_dir("sipit", appauthor=False)
    try:
        # One folder wherever a process works; `~` is left to programs by a file of settings.
        return path_of("the cache, $SIPIT_CACHE", chosen).expanduser().absolute()
    except RuntimeError:
        raise InvalidInput(
            f"Expected a cache in a folder that is known, but got {chosen}, and whose home that is nobody says; set "
            "SIPIT_CACHE to a folder by its whole path."
        ) from None


def measured_with(device: "torch.device | str" = "cpu") -> str:
    """The folder of the cache for what this installation computes: its code, libraries, the processor, the device.

    Also how the device multiplies matrices of float32, where it rounds their factors (tf32).

    What was measured with others, or made by them, is not found there, whatever it was.
    """
    return re.sub(r"[^\w.+-]+", "-", f"{libraries()}_{_place(device)}_code-{_code()}")


@functools.cache
def libraries() -> str:
    """What computes here: versions of torch, transformers and Python, and what torch uses of the processor."""
    from importlib import metadata

    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    versions = f"torch-{metadata.version('torch')}_transformers-{metadata.version('transformers')}"
    text = f"python-{platform.python_version()}"  # which carries the text that models are measured on
    return f"{versions}_{text}_{capability}"


@functools.cache
def _code() -> str:
    """A digest of this toolkit: another one may measure otherwise, or keep other fields."""
    total, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(path for package in ("numerics", "proofs", "sipit") for path in (root / package).rglob("*.py")):
        total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def _place(device: "torch.device | str") -> str:
    import torch

    from numerics.networks.products import rounded_unit

    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    unit = rounded_unit(place)
    return name if unit is None else f"{name}_products-{unit:.0e}"


@contextlib.contextmanager
def alone_in(folder: Path) -> Generator[bool | None]:
    """Whether no other process is in a folder; as long as this one is, no other can be. Ends with the process.

    None where that cannot be told: a system or a disk without such locks, or a folder that cannot be opened.
    """
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:
        yield None
        return
    try:
        yield _entered(folder, place)
    finally:
        os.close(place)


def _entered(folder: Path, place: int) -> bool | None:
    """Takes the lock of a folder that is open at `place`, as `alone_in` says."""
    try:
        import fcntl

        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # most of them say that there are no locks here, and nothing of another process
        return False if error.errno in _HELD else None
    except ImportError:
        return None
    try:
        return os.path.samestat(os.fstat(place), folder.stat())  # not one that was removed meanwhile
    except OSError:
        return False


def can_write(folder: Path) -> bool:
    """Whether files can be written into a folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def full_disk() -> tuple[type[Exception], ...]:
    """What is raised where a file cannot be written, by Python or by the library that writes weights."""
    from safetensors import SafetensorError

    return OSError, SafetensorError


def keep_folder(target: Path, write: Callable[[Path], None]) -> bool:
    """Fills a new folder whole and gives it its name; False where the cache cannot be written (never an error)."""
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.")
        write(Path(temporary))
        os.replace(temporary, target)
    except full_disk():
        return target.is_dir()  # another process may have finished first
    else:
        temporary = None
        return True
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)


def kept_json(key: str) -> dict[str, Any] | None:
    """The JSON object kept under a key; None where there is none, or a damaged one."""
    return opened_json(cache_folder() / key)


def keep_json(key: str, data: dict[str, Any]) -> dict[str, Any]:
    """Keeps a JSON object under a key where the cache can be written, and hands it on."""
    _keep(key, sealed_json(data))
    return data


def kept_tensors(key: str) -> "dict[str, torch.Tensor] | None":
    """The tensors kept under a key; None where there are none, or damaged ones."""
    found = opened_tensors(cache_folder() / key)
    return None if found is None else found[0]


def forget(key: str) -> None:
    """Removes what is kept under a key."""
    with contextlib.suppress(OSError):
        (cache_folder() / key).unlink()


def keep_tensors(key: str, tensors: "dict[str, torch.Tensor]") -> None:
    """Keeps tensors under a key where the cache can be written."""
    with contextlib.suppress(*full_disk()):  # or more than its library can write into one file
        _keep(key, sealed_tensors(tensors))


def _keep(key: str, content: bytes) -> None:
    path = cache_folder() / key
    with contextlib.suppress(OSError, InvalidInput):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


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
    from numerics.tensor_bytes import tensor_bytes  # the checker needs no numerics, and imports this module

    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return tensor_bytes(plain, {_SEALED: f"{_seal(plain, note)} {note}"})


def note_of(path: Path) -> str:
    """The note beside the tensors of a file, which are not read; empty where it has none.

    Raises:
        InvalidInput: as for `read_header`.
    """
    return read_header(path).metadata.get(_SEALED, "").partition(" ")[2]


def opened_tensors(path: Path) -> "tuple[dict[str, torch.Tensor], str] | None":
    """The tensors of a file and its note; None where there is none, or it is not as it was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        seal, _, note = read_header(path).metadata[_SEALED].partition(" ")
        tensors = load_file(path)
        return (tensors, note) if seal == _seal(tensors, note) else None
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
