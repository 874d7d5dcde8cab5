"""States of a corpus, and their closest pairs, on many processes or machines with Ray.

States: shards of prompts as actors with a model each. Shards end where batches end, so that every state has the bits
that one process would give it. A shard is a state store of its own: a worker that dies is started again, and continues
where its store stopped. The folder has to be one that all machines see.
Pairs: shards of the states with halos, handed out with the least distance found so far; a task that dies is done again.
Either way the answer is the one that a single process gives.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from numerics.dtypes import name_of
from numerics.pairs.points import processors
from numerics.pairs.search import ClosePairs
from numerics.pairs.shards import Shard, closest_pairs_in_shards, pairs_within_in_shards, search_shard
from proofs.arguments import whole_in
from proofs.errors import InvalidInput, MissingResource, SipitError
from sipit.cache import measured_with
from sipit.models import LanguageModel, load_model
from sipit.prompts.corpora import Corpus
from sipit.prompts.windows import Prefixes
from sipit.record import Progress
from sipit.states.store import arrays_on_disk, batches, is_whole, path_of, store_states, stored_in

LOOPBACK = "127.0.0.1"
WINDOWS = 512  # of a shard, about: what a worker does between two reports
REACHED = 5.0  # seconds that the address of a cluster has to answer
PIECES = 4  # of the states for each worker, so that later ones profit from the least distance of earlier ones


class Worker:
    """An actor: one model, and the shards it is given."""

    def __init__(self, name: str, dtype: str, device: str, seed: int, digest: str, computed: str) -> None:
        self._model = load_model(name, dtype=dtype, device=device, seed=seed)
        self._digest, self._computed = digest, computed

    def run(self, prompts: Prefixes, layers: Sequence[int], folder: str, batch: int) -> int:
        """Fills the store of one shard; the number of its prompts.

        Raises:
            InvalidInput: as for `expect_same`.
        """
        expect_same(self._model, self._digest, self._computed)
        store_states(self._model, prompts, layers=layers, folder=Path(folder), batch=batch)
        return len(prompts)


def expect_same(model: LanguageModel, digest: str, computed: str | None = None) -> None:
    """Compares the model that a worker has loaded by its name with the one that the command has.

    Where states of several workers stand side by side, also what they are `computed` with (`sipit.cache`): other
    versions, or another processor, round otherwise.

    Raises:
        InvalidInput: its weights are other ones, or it computes with something else.
    """
    if model.digest != digest:
        raise InvalidInput(
            f"Expected one model wherever workers run, but a worker's {model.name} has other weights, or another "
            "release of transformers, which may give it another digest; put the same there, and begin anew."
        )
    own = measured_with(model.device)
    if computed not in (None, own):
        raise InvalidInput(
            f"Expected what computes to be alike wherever workers run, {computed}, but a worker has {own}: their "
            "states differ by rounding; use machines of one kind with one installation."
        )


class Cluster:
    """A connected Ray cluster: it captures states, and is a `sipit.collisions.findings.Search`."""

    name = "ray"

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def states(
        self,
        model: LanguageModel,
        corpus: Corpus,
        layers: Sequence[int],
        folder: Path,
        batch: int,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> dict[int, Any]:
        """As `store_states`, by the workers of the cluster.

        Args:
            seed: draws the parameters of a tiny model.

        Raises:
            InvalidInput: what a worker refuses, or states that are not all in the folder as this process sees it.
        """
        parts = shards(corpus.prompts, batch)
        dtype = name_of(model.dtype)
        places = [folder / f"shard-{number:06d}" for number in range(len(parts))]
        tasks = [(part, list(layers), str(place), batch) for part, place in zip(parts, places, strict=True)]
        named = (model.name, dtype, str(model.device), seed, model.digest, measured_with(model.device))
        done = 0
        for number, count in self.by_actors(Worker, named, tasks):
            # The worker says so; but is it the same folder that is seen from here?
            if not is_whole(model, parts[number], layers=layers, folder=places[number], batch=batch):
                raise _unseen(folder)
            done += count
            if progress is not None:
                progress(done, len(corpus))
        shape = (len(corpus), model.width)
        return {layer: _joined(folder, layer, places, shape, stored_in(model, layer)) for layer in layers}

    def by_actors(self, kind: type, arguments: tuple[Any, ...], tasks: Sequence[Any]) -> Generator[tuple[int, Any]]:
        """Lets actors `kind(*arguments)`, one a processor, do `run(*task)` for every task.

        Yields the number of a task and what it returned, as they end. An actor that dies is started again.
        """
        actor = self._ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(kind)
        count = min(len(tasks), self.workers)
        actors = [actor.remote(*arguments) for _ in range(count)]
        numbers = {actors[number % count].run.remote(*task): number for number, task in enumerate(tasks)}
        waiting = list(numbers)
        while waiting:
            ready, waiting = self._ray.wait(waiting)
            for one in ready:
                yield numbers[one], self._got(one)

    def closest_pairs(self, states: Any, *, count: int) -> ClosePairs:
        """See `sipit.collisions.findings.Search`."""
        return closest_pairs_in_shards(states, count=count, pieces=PIECES * self.workers, workers=self)

    def pairs_within(self, states: Any, *, threshold: float) -> ClosePairs:
        """See `sipit.collisions.findings.Search`."""
        return pairs_within_in_shards(states, threshold=threshold, pieces=PIECES * self.workers, workers=self)

    def results(self, points: Any, shards: Iterator[Shard]) -> Generator[ClosePairs]:
        """See `numerics.pairs.shards.Workers`: as many tasks at a time as there are processors."""
        task = self._ray.remote(max_retries=-1, num_cpus=1)(search_shard)
        # A whole file is read by whoever needs it; other arrays are handed over once to every machine.
        whole = isinstance(points, np.memmap) and points.filename is not None and not isinstance(points.base, np.memmap)
        reference = _File(str(points.filename)) if whole else self._ray.put(np.asarray(points))
        waiting: deque[Any] = deque()
        for shard in shards:
            waiting.append(task.remote(reference, shard))
            if len(waiting) >= self.workers:
                yield self._got(waiting.popleft())
        while waiting:
            yield self._got(waiting.popleft())

    def _got(self, task: Any) -> Any:
        """What a task returned; what it refused in the words that it had, which Ray puts behind a traceback."""
        try:
            return self._ray.get(task)
        except SipitError as error:
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, SipitError) else error) from None


class _File:
    """A stored array that a worker opens when it reads rows of it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getitem__(self, rows: Any) -> Any:
        try:
            return np.load(self._path, mmap_mode="r")[rows]
        except OSError:
            raise _unseen(Path(self._path).parent) from None


def _unseen(folder: Path) -> InvalidInput:
    return InvalidInput(
        f"Expected one folder that all machines see, but not everything that one has written into {folder} is there "
        "for another; set SIPIT_CACHE to a folder that all of them share and can write, and begin again."
    )


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


def _joined(folder: Path, layer: int, parts: Sequence[Path], shape: tuple[int, int], dtype: Any) -> Any:
    path = folder / f"joined-{layer:03d}.npy"
    (whole,) = arrays_on_disk([path], shape, [dtype])
    done = 0
    for place in parts:
        part = np.load(path_of(place, layer), mmap_mode="r")
        whole[done : done + len(part)] = part
        done += len(part)
    whole.flush()
    return np.load(path, mmap_mode="r")


@contextmanager
def open_cluster(address: str | None = None) -> Generator[Cluster]:
    """Connects to a cluster; what was started here is ended here.

    Args:
        address: of the cluster; None starts one on this machine alone, bound to 127.0.0.1 and without a dashboard.

    Raises:
        MissingResource: Ray is not installed.
        InvalidInput: no cluster at the address; or Ray was imported before, and cannot be bound to this machine alone
            any more.
    """
    if find_spec("ray") is None:
        raise MissingResource("Expected Ray for --engine ray, but it is not installed; pip install 'sipit[cluster]'")
    if address is None:
        # Read when Ray is imported: without it the loopback address is replaced by that of the machine.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    if address is None:
        ray.init(
            num_cpus=processors(), include_dashboard=False, _node_ip_address=LOOPBACK, log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip
    else:
        _check_reachable(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _unreachable(address, error) from None
    try:
        bound = {node["NodeManagerAddress"] for node in ray.nodes()}
        if address is None and bound != {LOOPBACK}:
            raise InvalidInput(
                f"Expected Ray bound to {LOOPBACK}, but it is bound to {', '.join(sorted(bound))}, because it was "
                "imported before; import it after sipit, or give the address of a cluster."
            )
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises InvalidInput where nobody listens: Ray itself would try for minutes, and tell it on standard error."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    number = whole_in(port)
    if not host or number is None:
        return  # a name that Ray resolves, such as auto
    try:
        socket.create_connection((host.strip("[]"), number), timeout=REACHED).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: Exception) -> InvalidInput:
    reason = str(error).splitlines()[0].rstrip(".")[:160] if str(error) else type(error).__name__
    return InvalidInput(f"Expected a Ray cluster at {address}, but there is none ({reason}); check --address.")
