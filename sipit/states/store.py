"""States of very many prompts, several layers at once, on disk: written as they come, resumed where they stopped.

A store is a folder with one memory-mapped array a layer and a checkpoint that says for which prompts, which model and
which arithmetic it is, and how many windows are done. Memory is that of one batch; an interrupted run loses no more
than the windows since the last checkpoint, and computes the rest in the same batches as an uninterrupted one.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import write_atomically
from sipit.models import LanguageModel
from sipit.models.layers import reading
from sipit.models.network import Network, check_layer
from sipit.prompts.windows import Prefixes
from sipit.record import Progress

SCHEMA = "sipit/state-store/1"
CHECKPOINT_EVERY = 8  # batches
STORED = {torch.float64: np.float64, torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.float32}


def store_states(
    model: LanguageModel,
    prompts: Prefixes,
    *,
    layers: Sequence[int],
    folder: Path,
    batch: int = 16,
    progress: Progress | None = None,
) -> dict[int, NDArray[np.floating[Any]]]:
    """The last-token states of all prompts at several layers, as read-only memory maps of shape (prompts, d).

    States keep the model's dtype (bfloat16 is widened to float32, which is exact). They come from runs over whole
    windows, and equal those of stand-alone runs only up to rounding: a hit is to be confirmed by one.

    Args:
        folder: where the store is, or goes; an unfinished one for the same prompts, model and layers is continued.
        batch: windows that run together; equal stores need equal batches, because rounding depends on them.
        progress: called with (prompts done, prompts in all).

    Raises:
        InvalidInput: no such layer, a folder with another store in it, or one that cannot be written.
        Unsupported: the states of a prefix are not those that it has in its window.
    """
    chosen = sorted(set(layers))
    for layer in chosen:
        check_layer(model, layer)
    if not chosen or batch < 1:
        raise InvalidInput(f"Expected a layer and a batch of at least 1, but got layers={chosen}, batch={batch}.")
    longest = max(map(len, prompts.windows))
    if not model.lengths.alike(1, longest):
        raise Unsupported(
            f"Expected windows whose prefixes have states of their own, but {model.lengths.reason} in {model.name}, "
            f"and a window has {longest} tokens; choose shorter ones."
        )
    identity = {
        "schema": SCHEMA,
        "model": model.digest,
        "dtype": str(model.dtype),
        "prompts": prompts.digest,
        "layers": chosen,
        "batch": batch,
    }
    paths = {layer: folder / f"layer-{layer:03d}.npy" for layer in chosen}
    done = _resume(folder, identity)
    if not all(path.is_file() for path in paths.values()):
        done = 0  # somebody has tidied the cache
    shape, dtype = (len(prompts), model.width), STORED[model.dtype]
    if done < len(prompts.windows):
        arrays = {layer: array_on_disk(path, shape, dtype, begun=bool(done)) for layer, path in paths.items()}
        _fill(model, prompts, arrays, folder, identity, done, batch, progress)
    return {layer: np.load(path, mmap_mode="r") for layer, path in paths.items()}


def array_on_disk(path: Path, shape: tuple[int, ...], dtype: Any, *, begun: bool = False) -> Any:
    """A memory-mapped array that can be written; a new one takes its room at once: a full disk later kills the process.

    Raises:
        InvalidInput: there is no room, or the file cannot be written.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r+" if begun else "w+", dtype=dtype, shape=shape)
        if not begun and hasattr(os, "posix_fallocate"):
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = math.prod(shape) * np.dtype(dtype).itemsize / 2**30
        raise InvalidInput(
            f"Expected {size:.2g} GiB of room for states in {path.parent}, but got: {error.strerror}; free some, or "
            "set SIPIT_CACHE to another folder."
        ) from None
    return array


def _resume(folder: Path, identity: dict[str, Any]) -> int:
    """How many windows the store in the folder has; makes the folder where there is none."""
    checkpoint = folder / "checkpoint.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored = json.loads(checkpoint.read_text(encoding="utf-8")) if checkpoint.exists() else None
    except OSError as error:
        raise InvalidInput(f"Expected a folder for states, but {folder} is none: {error.strerror}.") from None
    except ValueError:
        raise InvalidInput(f"Expected a checkpoint in {folder}, but it cannot be read; remove the folder.") from None
    if stored is None:
        return 0
    differing = [name for name, value in identity.items() if stored.get(name) != value]
    if differing:
        raise InvalidInput(
            f"Expected a store of the same run, but {folder} has other {', '.join(differing)}; choose another folder."
        )
    return int(stored["windows"])


def _fill(
    model: LanguageModel,
    prompts: Prefixes,
    arrays: dict[int, Any],
    folder: Path,
    identity: dict[str, Any],
    done: int,
    batch: int,
    progress: Progress | None,
) -> None:
    borders = np.searchsorted(prompts.window, np.arange(len(prompts.windows) + 1))  # rows of window w: b[w] .. b[w+1]
    network = Network(model, max(arrays))
    for number, group in enumerate(batches(prompts, done, batch), start=1):
        ids = torch.tensor([prompts.windows[window] for window in group], device=model.device)
        for layer, states in _read(network, ids, sorted(arrays)).items():
            for place, window in enumerate(group):
                rows = slice(borders[window], borders[window + 1])
                positions = torch.from_numpy(prompts.length[rows] - 1).to(states.device)
                kept = states[place, positions]
                arrays[layer][rows] = (kept.float() if kept.dtype == torch.bfloat16 else kept).cpu().numpy()
        done = group.stop
        if number % CHECKPOINT_EVERY == 0 or done == len(prompts.windows):
            for array in arrays.values():
                array.flush()
            write_atomically(folder / "checkpoint.json", json.dumps({**identity, "windows": done}).encode())
        if progress is not None:
            progress(int(borders[done]), len(prompts))


def batches(prompts: Prefixes, done: int, batch: int) -> list[range]:
    """Ranges of windows of one length, at most `batch` each, from window `done` on; the same wherever one resumes."""
    ranges: list[range] = []
    start = 0
    for window in range(1, len(prompts.windows) + 1):
        ends = window == len(prompts.windows) or len(prompts.windows[window]) != len(prompts.windows[start])
        if ends or window - start == batch:
            ranges.append(range(start, window))
            start = window
    return [group for group in ranges if group.start >= done]


def _read(network: Network, ids: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
    """The states of one run at several layers, of which the network's own is the last; each (batch, T, d)."""
    with reading(network.model, layers[:-1]) as states:
        last = network.run(ids)
    return {layer: runs[0] for layer, runs in states.items()} | {layers[-1]: last}
