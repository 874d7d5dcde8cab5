"""The states of a corpus on many processes or machines, with Ray: shards of prompts as actors with a model each.

Shards end where batches end, so that every state has the bits that one process would give it. A shard is a state store
of its own: a worker that dies is started again, and continues where its store stopped. The folder has to be one that
all machines see. What is searched afterwards are the same numbers, so the answer is the same.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from numerics.point_set import processors
from proofs.errors import MissingResource
from sipit.colliding import Progress
from sipit.corpora import Corpus
from sipit.models import LanguageModel, load_model
from sipit.prefixes import Prefixes
from sipit.state_store import STORED, batches, store_states

WINDOWS = 512  # of a shard, about: what a worker does between two reports


class Worker:
    """An actor: one model, and the shards it is given."""

    def __init__(self, name: str, dtype: str, device: str, seed: int) -> None:
        self._model = load_model(name, dtype=dtype, device=device, seed=seed)

    def run(self, prompts: Prefixes, layers: Sequence[int], folder: str, batch: int) -> int:
        """Fills the store of one shard; the number of its prompts."""
        store_states(self._model, prompts, layers=layers, folder=Path(folder), batch=batch)
        return len(prompts)


def clustered_states(
    model: LanguageModel,
    corpus: Corpus,
    layers: Sequence[int],
    folder: Path,
    batch: int,
    *,
    address: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[int, Any]:
    """As `store_states`, by the workers of a Ray cluster.

    Args:
        address: of the cluster; None starts one on this machine alone, bound to 127.0.0.1 and without a dashboard,
            and ends it afterwards.
        seed: draws the parameters of a tiny model.

    Raises:
        MissingResource: Ray is not installed.
    """
    parts = shards(corpus.prompts, batch)
    with _cluster(address) as ray:
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(Worker)
        dtype = str(model.dtype).removeprefix("torch.")
        count = max(1, min(len(parts), int(ray.cluster_resources().get("CPU", 1))))
        workers = [actor.remote(model.name, dtype, str(model.device), seed) for _ in range(count)]
        waiting = [
            workers[number % count].run.remote(part, list(layers), str(folder / f"shard-{number:06d}"), batch)
            for number, part in enumerate(parts)
        ]
        done = 0
        while waiting:
            ready, waiting = ray.wait(waiting)
            done += sum(ray.get(ready))
            if progress is not None:
                progress(done, len(corpus))
    return {
        layer: _joined(folder, layer, len(parts), (len(corpus), model.width), STORED[model.dtype]) for layer in layers
    }


def shards(prompts: Prefixes, batch: int) -> list[Prefixes]:
    """Consecutive parts of the prompts that end where batches end."""
    groups = batches(prompts, 0, batch)
    found: list[Prefixes] = []
    start = 0
    for number, group in enumerate(groups, start=1):
        if group.stop - start >= WINDOWS or number == len(groups):
            first, last = np.searchsorted(prompts.window, (start, group.stop))
            found.append(
                Prefixes(
                    prompts.windows[start : group.stop], prompts.window[first:last] - start, prompts.length[first:last]
                )
            )
            start = group.stop
    return found


def _joined(folder: Path, layer: int, parts: int, shape: tuple[int, int], dtype: Any) -> Any:
    path = folder / f"joined-{layer:03d}.npy"
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    done = 0
    for number in range(parts):
        part = np.load(folder / f"shard-{number:06d}" / f"layer-{layer:03d}.npy", mmap_mode="r")
        whole[done : done + len(part)] = part
        done += len(part)
    whole.flush()
    return np.load(path, mmap_mode="r")


@contextmanager
def _cluster(address: str | None) -> Generator[Any]:
    """Ray, connected; what was started here is ended here."""
    if find_spec("ray") is None:
        raise MissingResource("Expected Ray for --engine ray, but it is not installed: pip install 'sipit[cluster]'")
    import ray  # pyright: ignore[reportMissingImports] - an extra

    if address is None:
        ray.init(
            num_cpus=processors(), include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
    else:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        yield ray
    finally:
        ray.shutdown()
