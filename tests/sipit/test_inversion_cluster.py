"""A folder of states files, and inversions by Ray workers: the answers of one process."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import sipit
from proofs.errors import InvalidInput
from sipit.inversion.inverter import Inverter
from sipit.inversion.record import inversion_record
from sipit.states.files import read_states, write_states
from tests.sipit.cases import answers, random_prompts, tiny

WITH_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra sipit[cluster]")


def test_a_folder_is_its_files_in_natural_order(tmp_path):
    model = tiny("gpt2")
    prompts = random_prompts(3, longest=5, seed=81)
    for number, prompt in zip((10, 2, 1), prompts, strict=True):
        write_states(tmp_path / f"part{number}.safetensors", sipit.capture(model, [prompt], layer=1))
    joined = read_states(tmp_path)
    assert [len(array) for array in joined] == [len(prompt) for prompt in reversed(prompts)]
    assert joined.layer == 1
    assert [found.token_ids for found in sipit.invert(model, joined)] == prompts[::-1]


def test_a_folder_of_different_captures_is_refused(tmp_path):
    model = tiny("gpt2")
    with pytest.raises(InvalidInput, match="there are none"):
        read_states(tmp_path)
    for layer in (1, 2):
        write_states(tmp_path / f"{layer}.safetensors", sipit.capture(model, [[1, 2]], layer=layer))
    with pytest.raises(InvalidInput, match=r"2\.safetensors differs from 1\.safetensors"):
        read_states(tmp_path)


@pytest.mark.parametrize("observed", [{"observe": "logprobs", "top": 100}, {"observe": "keys", "layer": 1}])
def test_whoever_else_inverts_is_given_the_states_as_the_model_has_them(observed):
    model, prompt = tiny("gpt2"), [104, 7, 33]
    states = sipit.capture(model, [prompt], **observed)
    record = inversion_record(model, states, elsewhere=lambda inverter, given, _progress: inverter.invert_all(given))
    assert record.result["prompts"][0]["token_ids"] == prompt


@pytest.mark.edge
@WITH_RAY
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_workers_answer_as_one_process_does(tmp_path, monkeypatch):
    from sipit.cluster.inversions import invert_on_cluster
    from sipit.cluster.states import open_cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    model = tiny("llama")
    prompts = random_prompts(9, longest=9, seed=82)
    states = sipit.capture(model, prompts, layer=2)
    inverter = Inverter.open(model, states)
    seen = []
    with open_cluster() as cluster:
        found = invert_on_cluster(
            cluster, inverter, states, policy="draft", truth=prompts, progress=lambda *both: seen.append(both)
        )
    assert answers(found) == answers(inverter.invert_all(states))
    assert all(inversion.matches_truth for inversion in found)
    conditions = [[token.condition for token in one.tokens] for one in inverter.invert_all(states, truth=prompts)]
    assert [[token.condition for token in one.tokens] for one in found] == conditions
    assert any(condition for row in conditions for condition in row)
    assert seen[-1] == (sum(map(len, prompts)),) * 2


@WITH_RAY
@pytest.mark.slow
def test_the_command_takes_a_folder_and_an_engine(tmp_path):
    model = tiny("gpt2")
    prompts = random_prompts(2, longest=5, seed=83)
    for number, prompt in enumerate(prompts):
        write_states(tmp_path / f"{number}.safetensors", sipit.capture(model, [prompt], layer=1))
    call = [sys.executable, "-c", "from sipit.cli import main; main()", "invert", "tiny-gpt2", "--engine", "ray"]
    done = subprocess.run(
        [*call, "--states", str(tmp_path), "--json"], capture_output=True, text=True, timeout=900, check=True
    )
    assert [found["token_ids"] for found in json.loads(done.stdout)["result"]["prompts"]] == prompts
