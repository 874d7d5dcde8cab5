"""The type of states is asked of a run: Mamba carries the stream of a half type in float32."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sipit
from numerics.formats import FORMATS
from numerics.formats.rounding import round_to_dtype
from sipit.cli import run
from sipit.collisions.hunts.continuations import continuation_states
from sipit.inversion.policies.gradient import GradientPolicy
from sipit.models.network import Network
from sipit.privacy.after import measure_released
from sipit.privacy.attack import Attack
from sipit.privacy.defences import Defence
from sipit.privacy.leak import measure_leak
from sipit.prompts.windows import prefixes
from sipit.quantization.counting import forced_collision
from sipit.quantization.formatted import in_format
from sipit.quantization.result import _counting
from sipit.quantization.study import Extent, Study
from sipit.states.store import is_whole, store_states, stored_in
from tests.sipit.cases import random_prompts, tiny

PROMPTS = random_prompts(2, longest=7, shortest=5, seed=4)
KEPT = Defence("kept", (1.0,), lambda rows, *_: rows)


def everywhere(model):
    return [*range(model.layers + 1), "final"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_the_type_of_states_is_that_of_a_run(family, dtype):
    model = tiny(family, dtype)
    ids = torch.tensor(PROMPTS[:1])
    seen = {layer: Network(model, layer).run(ids).dtype for layer in everywhere(model)}
    assert {layer: Network(model, layer).dtype for layer in seen} == seen
    assert (seen[1] == model.dtype) is (family == "llama" or model.dtype.itemsize > 2)
    for layer in range(model.layers + 1):
        assert np.dtype(stored_in(model, layer)).itemsize >= seen[layer].itemsize


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_states_are_stored_as_they_are(family, dtype, tmp_path):
    model = tiny(family, dtype)
    windows = prefixes(list(map(tuple, PROMPTS)))
    layers = list(range(model.layers + 1))
    stored = store_states(model, windows, layers=layers, folder=tmp_path / "s", batch=1)
    assert is_whole(model, windows, layers=layers, folder=tmp_path / "s", batch=1)
    for layer in layers:
        rows = torch.cat(list(sipit.capture(model, PROMPTS, layer=layer, special_tokens=False)))
        assert len(windows) == len(rows) and np.array_equal(stored[layer], rows.double().numpy())
    (tmp_path / "c").mkdir()
    found = continuation_states(model, [[5, 9]], layer=1, folder=tmp_path / "c")
    alone = Network(model, 1).run(torch.tensor([[5, 9, 7]]))[0, -1]
    assert found.dtype == stored_in(model, 1) and alone.dtype == Network(model, 1).dtype
    assert np.allclose(found[7], alone.double().numpy(), atol=0.02)


@pytest.mark.slow
def test_a_search_ends_whose_states_are_of_another_type_than_the_weights(capsys):
    command = ["collide", "tiny-mamba", "--prompts", "random:4", "--limit", "20", "--dtype", "float16", "--layers", "1"]
    assert run([*command, "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["result"]["prompts"] == 20


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_a_defence_leaves_as_it_is_leaves_as_it_is(dtype):
    network = Network(tiny("mamba", dtype), 1)
    rows = network.run(torch.tensor(PROMPTS[:1]))[0]
    attack = Attack.at(network, [(KEPT, 1.0)], 512, 0)
    assert torch.equal(attack._leaving(rows.double(), KEPT, 1.0, 0), rows.double())
    assert torch.equal(GradientPolicy().propose(rows, network).observed, rows)
    (curve,) = measure_leak(network.model, PROMPTS, layers=[1], defences=[KEPT]).curves
    assert curve["kl"]["max"] == 0 and curve["same_top1"] == 1
    states = sipit.capture(network.model, PROMPTS, layer=1)
    far = [1e5 * rows / rows.abs().max() for rows in states]  # beyond float16, not beyond the states' own type
    assert measure_released(network.model, PROMPTS, sipit.States(far, layer=1)).prompts == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_from_its_own_states_a_model_predicts_what_it_does(family, dtype):
    model = tiny(family, dtype)
    ids = torch.tensor(PROMPTS[:1])
    with torch.inference_mode():
        whole = model.module(input_ids=ids).logits[0]
    for layer in (1, model.layers):
        network = Network(model, layer)
        assert torch.equal(network.next_token_logits(network.run(ids)[0], token_ids=PROMPTS[0]), whole)


@pytest.mark.parametrize("name", ["float32", "bf16", "fp16", "bf16-states", "int8-states"])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_counting_counts_the_states_that_there_are(family, name):
    """All values of a type that has so many bits may occur: those of a stream in float32 lie on no half type's grid."""
    model = tiny(family)
    formatted = in_format(model, FORMATS[name])
    states = formatted.handed_out(Network(formatted.model, 1).run(torch.tensor(PROMPTS[:1]))[0])
    one = {"format": name, "state_type": str(states.dtype).removeprefix("torch.")}
    (found,) = _counting(SimpleNamespace(reference=SimpleNamespace(model=model)), [one])
    bits = {"int8-states": 8, "bf16-states": 16}.get(name, 8 * states.dtype.itemsize)
    assert found["bits"] == bits
    row = 32 if name == "int8-states" else 0
    counted = forced_collision(bits=bits, row_bits=row, width=model.width, vocabulary=512, context=None)
    assert found["length"] == counted.length
    half = {"bf16": torch.bfloat16, "fp16": torch.float16, "bf16-states": torch.bfloat16}.get(name)
    if half is not None and bits == 16:
        assert torch.equal(round_to_dtype(half)(states), states)


@pytest.mark.slow
def test_a_study_says_of_which_type_states_are():
    extent = Extent(prompts=1, length=4, places=1, nearest=8, states=20, crossed=1, budget=0.1)
    study = Study.open(tiny("mamba"), PROMPTS, layers=[1], extent=extent)
    assert study.measured(FORMATS["bf16"])["state_type"] == "float32"
