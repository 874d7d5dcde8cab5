"""Where converted models, probes and measured noise are kept between runs.

The cache only saves time: where it cannot be written, or what it holds is not as it was written (`sipit.sealed`), the
work is done again.
"""

import contextlib
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from proofs.errors import InvalidInput
from proofs.evidence import write_atomically
from sipit.sealed import opened_json, opened_tensors, sealed_json, sealed_tensors

if TYPE_CHECKING:
    import torch

MEASURING = 4  # raised where this toolkit measures otherwise than before; 2 to 4: half types as the library loads them


def cache_folder() -> Path:
    """The cache: `$SIPIT_CACHE`, else the user's cache directory. It may be missing or read-only."""
    chosen = os.environ.get("SIPIT_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("sipit", appauthor=False))


def measured_with(device: "torch.device | str" = "cpu") -> str:
    """The folder of the cache for what this installation computes: torch, transformers, the processor, the device.

    Also how the device multiplies matrices of float32, where it rounds their factors (tf32).

    What was measured with others, or made by them, is not found there, whatever it was.
    """
    return re.sub(r"[^\w.+-]+", "-", f"{installation()}_{_place(device)}")


@functools.cache
def installation() -> str:
    """What computes here: the versions of torch and transformers, what torch uses of the processor, and how we do."""
    from importlib import metadata

    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    versions = f"torch-{metadata.version('torch')}_transformers-{metadata.version('transformers')}"
    return f"{versions}_{capability}_{MEASURING}"


def _place(device: "torch.device | str") -> str:
    import torch

    from numerics.networks.products import rounded_unit

    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    unit = rounded_unit(place)
    return name if unit is None else f"{name}_products-{unit:.0e}"


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


def keep_tensors(key: str, tensors: "dict[str, torch.Tensor]") -> None:
    """Keeps tensors under a key where the cache can be written."""
    with contextlib.suppress(*full_disk()):  # or more than its library can write into one file
        _keep(key, sealed_tensors(tensors))


def _keep(key: str, content: bytes) -> None:
    path = cache_folder() / key
    with contextlib.suppress(OSError, InvalidInput):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
