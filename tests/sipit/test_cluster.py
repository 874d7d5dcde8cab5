import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from proofs.errors import MissingResource
from sipit import cluster
from sipit.cluster import clustered_states, shards
from sipit.colliding import stored_states
from sipit.corpora import read_corpus
from sipit.state_store import batches
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


def test_without_ray_the_extra_is_named(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingResource, match=r"sipit\[cluster\]"):
        clustered_states(tiny("qwen2"), corpus, [1], tmp_path, 8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("killed", [False, True])
def test_workers_give_the_same_bits_even_when_one_is_killed(corpus, tmp_path, monkeypatch, killed):
    pytest.importorskip("ray", reason="needs the extra sipit[cluster]")
    if killed and not Path("/proc").is_dir():
        pytest.skip("finds the worker to kill in /proc")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(cluster, "WINDOWS", 16)
    model = tiny("qwen2")
    expected = stored_states(model, corpus, [1, 2], tmp_path / "local", 8, None)
    victims = []

    def report(done, total):
        if killed and not victims:
            victims.append(worker_process())
            os.kill(victims[0], signal.SIGKILL)

    found = clustered_states(model, corpus, [1, 2], tmp_path / "ray", 8, progress=report)
    assert len(victims) == killed
    for layer in (1, 2):
        assert np.array_equal(expected[layer], found[layer])
    import ray

    assert not ray.is_initialized()


def worker_process():
    """The process of one worker of the cluster that this process started."""
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            ours = status.read_bytes().startswith(b"ray::Worker") and os.getpid() in ancestors(int(status.parent.name))
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
