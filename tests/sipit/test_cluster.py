"""Ray workers give the bits and the pairs of one process, even when one of them is killed."""

import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numerics.pairs.search import closest_pairs, pairs_within
from numerics.pairs.shards import closest_pairs_in_shards
from proofs.errors import InvalidInput, MissingResource
from sipit.cache import opened_json, sealed_json
from sipit.cluster import states as cluster
from sipit.cluster.states import open_cluster, shards
from sipit.prompts.corpora import read_corpus
from sipit.states.store import CHECKPOINT, batches, store_states
from tests.sipit.cases import tiny


@pytest.fixture(scope="module")
def corpus():
    return read_corpus(tiny("qwen2"), "builtin", limit=3000)


def test_shards_hold_all_prompts_in_order_and_end_where_batches_end(corpus, monkeypatch):
    monkeypatch.setattr(cluster, "WINDOWS", 20)
    parts = shards(corpus.prompts, 8)
    together = [part.token_ids(prompt) for part in parts for prompt in range(len(part))]
    assert together == [corpus.prompts.token_ids(prompt) for prompt in range(len(corpus))] and len(parts) > 2
    sizes = [len(group) for part in parts for group in batches(part, 0, 8)]
    assert sizes == [len(group) for group in batches(corpus.prompts, 0, 8)]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingResource, match=r"sipit\[cluster\]"), open_cluster():
        pass


class NoRay(cluster.Cluster):
    """Does every task here, and then what `lost` makes of the folder of its shard."""

    def __init__(self, lost):
        self.workers, self._lost = 2, lost

    def by_actors(self, kind, arguments, tasks):
        for number, (prompts, layers, folder, batch) in enumerate(tasks):
            count = kind(*arguments).run(prompts, layers, folder, batch)
            self._lost(number, Path(folder))
            yield number, count


def _elsewhere(number, folder):
    shutil.rmtree(folder)  # what a worker has written on its own machine


def _in_part(number, folder):
    """The shard that an earlier run left here, half of it still zeros, while the worker went on elsewhere."""
    states = np.lib.format.open_memmap(folder / "layer-001.npy", mode="r+")
    states[len(states) // 2 :] = 0
    stored = opened_json(folder / CHECKPOINT)
    (folder / CHECKPOINT).write_bytes(sealed_json({**stored, "windows": 1}))


def _zeros(number, folder):
    np.lib.format.open_memmap(folder / "layer-001.npy", mode="r+")[-1] = 0


@pytest.mark.parametrize("lost", [_elsewhere, _in_part, _zeros])
def test_states_that_are_not_all_here_are_refused(tmp_path, lost):
    """A worker that writes into its own machine's folder of that name leaves nothing, or zeros, in this one's."""
    small = read_corpus(tiny("qwen2"), "builtin", limit=200)
    expected = store_states(tiny("qwen2"), small.prompts, layers=[1], folder=tmp_path / "local", batch=8)
    found = NoRay(lambda *_told: None).states(tiny("qwen2"), small, [1], tmp_path / "whole", 8)
    assert np.array_equal(found[1], expected[1])
    with pytest.raises(InvalidInput, match=r"one folder that all machines see, but .*; set SIPIT_CACHE to a folder"):
        NoRay(lost).states(tiny("qwen2"), small, [1], tmp_path / "ray", 8)


def test_what_a_worker_refuses_is_told_in_its_own_words(tmp_path):
    class TaskError(InvalidInput):  # as Ray makes one of any error
        cause = InvalidInput("Expected one, but got two; give one.")

    def get(task):
        raise TaskError("ray::Worker.run() (pid=1)\n  Traceback: Expected one, but got two; give one.")

    with pytest.raises(InvalidInput, match=r"^Expected one"):
        cluster.Cluster(SimpleNamespace(cluster_resources=dict, get=get))._got(None)
    with pytest.raises(InvalidInput, match="one folder that all machines see"):
        cluster._File(str(tmp_path / "states.npy"))[0:1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("killed", [False, True])
def test_workers_give_the_same_bits_even_when_one_is_killed(corpus, tmp_path, monkeypatch, killed):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(cluster, "WINDOWS", 16)
    model = tiny("qwen2")
    expected = store_states(model, corpus.prompts, layers=[1, 2], folder=tmp_path / "local", batch=8)
    victims = []

    def report(done, total):
        if killed and not victims:
            victims.append(worker_process())
            os.kill(victims[0], signal.SIGKILL)

    with open_cluster() as opened:
        found = opened.states(model, corpus, [1, 2], tmp_path / "ray", 8, progress=report)
    assert len(victims) == killed
    for layer in (1, 2):
        assert np.array_equal(expected[layer], found[layer])
    import ray

    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stored", [True, False])
def test_pairs_are_the_same_even_when_a_worker_is_killed(tmp_path, monkeypatch, stored):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    states = np.random.default_rng(0).standard_normal((6000, 40), dtype=np.float32)
    states[5] = states[4000]
    if stored:
        np.save(tmp_path / "states.npy", states)
        states = np.load(tmp_path / "states.npy", mmap_mode="r")
    expected = closest_pairs(states, count=5, distinct=True)
    threshold = 1.01 * expected.distance[-1]
    victims = []
    with open_cluster() as opened:

        class Mortal:
            def results(self, points, shards):
                for found in opened.results(points, shards):
                    if not victims:
                        victims.append(worker_process())
                        os.kill(victims[0], signal.SIGKILL)
                    yield found

        assert list(closest_pairs_in_shards(states, count=5, pieces=12, workers=Mortal())) == list(expected)
        assert list(opened.closest_pairs(states, count=5)) == list(expected)
        within = opened.pairs_within(states, threshold=threshold)
    assert len(victims) == 1
    assert list(within) == list(pairs_within(states, threshold=threshold, distinct=True))


def worker_process():
    """The process of one worker of the cluster that this process started."""
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            working = status.read_bytes().startswith((b"ray::Worker", b"ray::search_shard", b"ray::IDLE"))
            ours = working and os.getpid() in ancestors(int(status.parent.name))
        except OSError:  # it has ended meanwhile
            continue
        if ours:
            return int(status.parent.name)
    raise AssertionError("no worker is running")


def ancestors(process):
    """The parents of a process, nearest first."""
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found
