"""States of very many prompts, several layers at once, on disk: written as they come, resumed where they stopped.

A store is a folder with one memory-mapped array a layer and a checkpoint that says for which prompts, which model and
which arithmetic it is, how many windows are done, and the sha256 of what each layer then holds. Memory is that of one
batch; an interrupted run loses no more than the windows since the last checkpoint, and computes the rest in the same
batches as an uninterrupted one. A store that is not as it was written is begun anew.
"""

import hashlib
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
from sipit.cache import measured_with, opened_json, sealed_json
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.layers import check_numbers, reading
from sipit.models.network import Network
from sipit.prompts.windows import Prefixes
from sipit.record import Progress

SCHEMA = "sipit/state-store/1"
CHECKPOINT, CHECKPOINT_EVERY = "checkpoint.json", 8  # batches
_ROWS = 2**14  # that are read at a time
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

    States keep their dtype (bfloat16 is widened to float32, which is exact). They come from runs over whole
    windows, and equal those of stand-alone runs only up to rounding: a hit is to be confirmed by one.

    Args:
        folder: where the store is, or goes; an unfinished one for the same prompts, model and layers is continued.
        batch: windows that run together; equal stores need equal batches, because rounding depends on them.
        progress: called with (prompts done, prompts in all).

    Raises:
        InvalidInput: no such layer, a folder with another store in it, or one that cannot be written.
        Unsupported: the states of a prefix are not those that it has in its window.
    """
    check_loaded(model)
    chosen = sorted(set(layers))
    check_numbers(model, chosen)
    if not chosen or batch < 1:
        raise InvalidInput(
            f"Expected a layer and a batch of at least 1, but got layers={chosen}, batch={batch}; name both."
        )
    longest = max(map(len, prompts.windows))
    if not model.lengths.alike(1, longest):
        raise Unsupported(
            f"Expected windows whose prefixes have states of their own, but {model.lengths.reason} in {model.name}, "
            f"and a window has {longest} tokens; choose shorter ones."
        )
    identity = _identity(model, prompts, chosen, batch)
    paths = {layer: path_of(folder, layer) for layer in chosen}
    done, seals = _resume(folder, identity)
    shape, dtypes = (len(prompts), model.width), {layer: stored_in(model, layer) for layer in chosen}
    borders = prompts.borders
    sums = {layer: hashlib.sha256() for layer in chosen}
    if not all(
        holds(paths[layer], shape, dtypes[layer], borders[done], sums[layer], seals.get(str(layer))) for layer in chosen
    ):
        done, sums = 0, {layer: hashlib.sha256() for layer in chosen}
    if done < len(prompts.windows):
        kinds = [dtypes[layer] for layer in paths]
        arrays = dict(zip(paths, arrays_on_disk([*paths.values()], shape, kinds, begun=bool(done)), strict=True))
        _fill(model, prompts, arrays, sums, folder, identity, done, batch, progress)
        for layer, path in paths.items():
            expect_kept(path, shape, dtypes[layer], sums[layer].hexdigest())
    return {layer: np.load(path, mmap_mode="r") for layer, path in paths.items()}


def is_whole(model: LanguageModel, prompts: Prefixes, *, layers: Sequence[int], folder: Path, batch: int) -> bool:
    """Whether a folder holds what `store_states` has made of the same, all of it and as it was written."""
    chosen = sorted(set(layers))
    stored = opened_json(folder / CHECKPOINT) or {}
    wanted = {**_identity(model, prompts, chosen, batch), "windows": len(prompts.windows)}
    if any(stored.get(name) != value for name, value in wanted.items()):
        return False
    shape, seals = (len(prompts), model.width), stored["seals"]
    return all(
        holds(
            path_of(folder, layer), shape, stored_in(model, layer), shape[0], hashlib.sha256(), seals.get(str(layer))
        )
        for layer in chosen
    )  # fmt: skip


def stored_in(model: LanguageModel, layer: int) -> Any:
    """The type of numpy that holds the states of a layer exactly."""
    return STORED[Network(model, layer).dtype]


def path_of(folder: Path, layer: int) -> Path:
    """Where a store keeps the states of a layer."""
    return folder / f"layer-{layer:03d}.npy"


def _identity(model: LanguageModel, prompts: Prefixes, layers: list[int], batch: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": model.digest,
        "versions and processor": measured_with(model.device),
        "dtype": str(model.dtype),
        "prompts": prompts.digest,
        "layers": layers,
        "batch": batch,
    }


def arrays_on_disk(
    paths: Sequence[Path], shape: tuple[int, ...], dtypes: Sequence[Any], *, begun: bool = False
) -> list[Any]:
    """Memory-mapped arrays that can be written; new ones take their room at once, or none is left behind.

    A write to a disk that became full later would kill the process. With `begun` the files are there already.

    Raises:
        InvalidInput: there is no room, or a file cannot be written.
    """
    try:
        return [_array_on_disk(*each, shape, begun=begun) for each in zip(paths, dtypes, strict=True)]
    except OSError as error:
        if not begun:
            for path in paths:
                path.unlink(missing_ok=True)
        size = math.prod(shape) * sum(np.dtype(dtype).itemsize for dtype in dtypes) / 2**30
        raise InvalidInput(
            f"Expected {size:.2g} GiB of room for states in {paths[0].parent}, but got: {error.strerror}; free some, "
            "or set SIPIT_CACHE to another folder."
        ) from None


def _array_on_disk(path: Path, dtype: Any, shape: tuple[int, ...], *, begun: bool) -> Any:
    array = np.lib.format.open_memmap(path, mode="r+" if begun else "w+", dtype=dtype, shape=shape)
    if not begun and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


def _resume(folder: Path, identity: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """How many windows the store in the folder has, and the sha256 of each layer; makes the folder if there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"Expected a folder for states, but {folder} is none: {error.strerror}; name another."
        ) from None
    stored = opened_json(folder / CHECKPOINT)
    if stored is None:
        return 0, {}
    differing = [name for name, value in identity.items() if stored.get(name) != value]
    if differing:
        raise InvalidInput(
            f"Expected a store of the same run, but {folder} has other {', '.join(differing)}; choose another folder."
        )
    return stored["windows"], stored["seals"]


def holds(path: Path, shape: tuple[int, ...], dtype: Any, rows: int, total: Any, seal: str | None) -> bool:
    """Whether an array on disk holds the rows of a seal; enters them into `total`, a sha256 that is begun."""
    try:
        array = np.load(path, mmap_mode="r") if seal is not None else None
    except (OSError, ValueError, EOFError):
        return False
    if array is None or array.shape != shape or array.dtype != dtype:
        return False
    for at in range(0, rows, _ROWS):
        total.update(np.ascontiguousarray(array[at : min(rows, at + _ROWS)]))
    return total.hexdigest() == seal


def expect_kept(path: Path, shape: tuple[int, ...], dtype: Any, seal: str) -> None:
    """Raises InvalidInput where an array on disk is not what was written into it."""
    if not holds(path, shape, dtype, shape[0], hashlib.sha256(), seal):
        raise InvalidInput(
            f"Expected the states in {path.parent} as they were written, but something else changed them meanwhile; "
            "begin again, and let no two programs write into one folder."
        )


def _fill(
    model: LanguageModel,
    prompts: Prefixes,
    arrays: dict[int, Any],
    sums: dict[int, Any],
    folder: Path,
    identity: dict[str, Any],
    done: int,
    batch: int,
    progress: Progress | None,
) -> None:
    borders = prompts.borders
    network = Network(model, max(arrays))
    for number, group in enumerate(batches(prompts, done, batch), start=1):
        ids = torch.tensor([prompts.windows[window] for window in group], device=model.device)
        for layer, states in _read(network, ids, sorted(arrays)).items():
            for place, window in enumerate(group):
                rows = slice(borders[window], borders[window + 1])
                positions = torch.from_numpy(prompts.length[rows] - 1).to(states.device)
                kept = states[place, positions]
                written = (kept.float() if kept.dtype == torch.bfloat16 else kept).cpu().numpy()
                arrays[layer][rows] = written
                sums[layer].update(written.tobytes())  # as computed: the file may be changed meanwhile
        done = group.stop
        if number % CHECKPOINT_EVERY == 0 or done == len(prompts.windows):
            for array in arrays.values():
                array.flush()
            seals = {str(layer): total.hexdigest() for layer, total in sums.items()}
            write_atomically(folder / CHECKPOINT, sealed_json({**identity, "windows": done, "seals": seals}))
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
