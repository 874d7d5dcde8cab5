"""What a run costs: no block beyond the layer, no unembedding, few tokens, no large tables, no global switch."""

import contextlib
import logging
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.inversion.search import FIRST, RIVALS
from sipit.models.network import Network, Work
from sipit.models.tiny import tiny_config
from tests.sipit.cases import EACH_KIND, EACH_POLICY, PAPER_SIX, language_model, random_prompts, rest_slow, tiny

ROOT = Path(__file__).parents[2]


@cache
def deep(family, layers=4):
    """A tiny model of four blocks, made once; nobody may change it."""
    config = tiny_config(family)
    setattr(config, config.attribute_map.get("num_hidden_layers", "num_hidden_layers"), layers)
    if getattr(config, "layer_types", None):
        config.layer_types = ["sliding_attention", "full_attention"] * (layers // 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return language_model(module.requires_grad_(False).eval())


@contextlib.contextmanager
def counted(model):
    """Counts the calls of every block, of the unembedding, and the tokens that enter each block."""
    head = model.module.get_output_embeddings()
    calls = {"head": 0, "blocks": [0] * model.layers, "tokens": [0] * model.layers}

    def count_head(_module, _arguments):
        calls["head"] += 1

    def count_block(index):
        def hook(_module, arguments, named):
            hidden = arguments[0] if arguments else named["hidden_states"]
            calls["blocks"][index] += 1
            calls["tokens"][index] += hidden.shape[0] * hidden.shape[1]

        return hook

    handles = [head.register_forward_pre_hook(count_head)]
    for index, block in enumerate(model.decoder.blocks):
        handles.append(block.register_forward_pre_hook(count_block(index), with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


# Blocks and the unembedding.


@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=["gpt2", "llama", "gemma3"]))
@pytest.mark.parametrize("layer", [0, 1, 2, 4, "final"])
@pytest.mark.parametrize("how", [{}, {"cached": True}, {"batch": 3}], ids=str)
def test_a_capture_computes_nothing_beyond_its_layer(family, layer, how):
    model = deep(family)
    prompts = random_prompts(3, longest=6, seed=41)
    depth = 4 if layer == "final" else layer
    with counted(model) as calls:
        sipit.capture(model, prompts, layer=layer, **how)
    runs = calls["blocks"][0]
    # At layer 0 the first block is asked what enters it, and is not run.
    assert calls["blocks"] == [runs] * max(depth, 1) + [0] * (4 - max(depth, 1))
    assert calls["head"] == 0
    lengths = [len(prompt) for prompt in prompts]
    expected = 3 * max(lengths) if how.get("batch") else sum(lengths)
    assert calls["tokens"][0] == expected


@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=["gpt2", "llama", "gemma3"]))
@pytest.mark.parametrize("layer", [1, pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("policy", ["nearest", "exhaustive", pytest.param("gradient", marks=pytest.mark.slow)])
def test_a_search_computes_nothing_beyond_its_layer(family, layer, policy):
    model = deep(family)
    states = sipit.capture(model, random_prompts(1, shortest=4, longest=4, seed=42), layer=layer)
    inverter = Inverter.open(model, states, policy=policy)
    with counted(model) as calls:
        (inversion,) = inverter.invert_all(states)
    assert inversion.outcome is Outcome.RECOVERED
    assert all(calls["blocks"][:layer])
    assert not any(calls["blocks"][layer:])
    assert calls["head"] == 0


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_only_the_prior_goes_beyond_the_layer_and_is_counted(family):
    """The draft asks the rest of the model at most once per prompt, with the observed states."""
    model, layer = deep(family), 2
    states = sipit.capture(model, random_prompts(2, shortest=6, longest=9, seed=43), layer=layer)
    inverter = Inverter.open(model, states, policy="draft")
    for array in states:
        with counted(model) as calls:
            inversion = inverter.invert(array)
        assert inversion.outcome is Outcome.RECOVERED
        assert calls["head"] <= 1
        assert calls["blocks"][layer:] == [calls["head"]] * (4 - layer)
        assert calls["tokens"][layer:] == [calls["head"] * len(array)] * (4 - layer)
        assert inversion.forward_passes >= max(calls["blocks"][0], calls["head"])


def hooks(model):
    return [(len(block._forward_hooks), len(block._forward_pre_hooks)) for block in model.decoder.blocks]


@pytest.mark.parametrize("family", EACH_KIND)
def test_the_blocks_of_a_model_are_its_own_again_after_a_prior(family):
    model = tiny(family)
    states = sipit.capture(model, [[1, 2, 3, 4]], layer=1)
    network, hooked = Network(model, 1), hooks(model)
    before = sipit.capture(model, [[1, 2, 3, 4]], layer=2)[0]
    logits = network.next_token_logits(states[0])
    with torch.inference_mode():
        plain = model.module(input_ids=torch.tensor([[1, 2, 3, 4]]), use_cache=False).logits[0]
    assert torch.allclose(logits, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert torch.equal(sipit.capture(model, [[1, 2, 3, 4]], layer=2)[0], before)
    assert not [block for block in model.decoder.blocks if "forward" in vars(block)]
    assert hooks(model) == hooked


# Tokens pushed through blocks.


@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=PAPER_SIX))
def test_an_exhaustive_search_costs_the_vocabulary_once_per_position(family):
    """Each candidate is one token over a shared prefix, and the prefix itself is run once: V T + T, not V T²/2."""
    model = tiny(family)
    (prompt,) = random_prompts(1, shortest=6, longest=6, seed=44)
    states = sipit.capture(model, [prompt], layer=2)
    inverter = Inverter.open(model, states, policy="exhaustive")
    with counted(model) as calls:
        (inversion,) = inverter.invert_all(states)
    length, size = len(prompt), model.vocabulary_size
    assert inversion.candidates_tested == size * length
    assert inversion.token_positions <= size * length + length
    assert calls["tokens"][0] == inversion.token_positions
    assert calls["blocks"][0] == inversion.forward_passes


@pytest.mark.parametrize("family", ["bloom", "falcon", "neox"])
def test_a_draft_that_fits_costs_a_run_a_batch_of_rivals_and_a_prior(family):
    model = tiny("gpt-neox" if family == "neox" else family)
    (prompt,) = random_prompts(1, shortest=16, longest=16, seed=45)
    states = sipit.capture(model, [prompt], layer=1)
    inverter = Inverter.open(model, states)
    (inversion,) = inverter.invert_all(states)
    assert inversion.forward_passes <= 5
    drafts = inversion.forward_passes  # each run of drafts is at most a few rows of the prompt
    assert inversion.token_positions <= 16 * (RIVALS + 4 * drafts) + FIRST
    assert all(token.rivals_tested >= 2 for token in inversion.tokens)
    (everywhere,) = Inverter.open(model, states, rivals=RIVALS).invert_all(states)
    assert everywhere.token_ids == inversion.token_ids
    assert all(token.rivals_tested >= RIVALS for token in everywhere.tokens)


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_the_work_is_what_the_hooks_count(policy):
    model = tiny("llama")
    (prompt,) = random_prompts(1, shortest=7, longest=7, seed=46)
    states = sipit.capture(model, [prompt], layer=2)
    inverter = Inverter.open(model, states, policy=policy)
    with counted(model) as calls:
        (inversion,) = inverter.invert_all(states)
    # Every run comes to the first block: layer 0 is read in front of it, and the prior passes it over.
    assert inversion.forward_passes == calls["blocks"][0]
    assert inversion.token_positions == calls["tokens"][0]


def test_work_is_counted_per_prompt():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3], [1, 2, 3]], layer=1)
    first, second = Inverter.open(model, states, policy="exhaustive").invert_all(states)
    assert (first.forward_passes, first.token_positions) == (second.forward_passes, second.token_positions)
    assert Network(model, 1).work == Work()


# Memory.


class Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation made, views of others left out."""

    def __init__(self):
        super().__init__()
        self.elements, self.made_by = 0, ""

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        result = operation(*arguments, **(named or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and not operation.is_view and tensor.numel() > self.elements:
                self.elements, self.made_by = tensor.numel(), str(operation)
        return result


@dataclass(frozen=True)
class Prepared:
    """A policy whose proposal has been made: what is left are the steps of the search."""

    proposal: object

    def propose(self, states, network):
        return self.proposal


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_no_step_makes_a_table_of_the_vocabulary_by_the_width(monkeypatch, policy):
    """V = 4096 and d = 64 with pieces of 256 candidates: a V x d temporary would have 262144 elements."""
    monkeypatch.setattr("sipit.inversion.verifier.PIECE", 256, raising=False)
    monkeypatch.setattr("sipit.inversion.search.PIECE", 256)
    monkeypatch.setattr("sipit.prefix.kinds.MEMORY", 2**21)
    monkeypatch.setattr("sipit.inversion.probes._FIRST_TOKENS", 64)
    config = tiny_config("llama")
    config.vocab_size = 4096
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).requires_grad_(False).eval()
    model = language_model(module)
    prompts = [[7, 4000, 9]]
    states = sipit.capture(model, prompts, layer=1)
    inverter = Inverter.open(model, states, policy=policy)
    warm = inverter.invert_all(states)
    proposal = inverter.policy.propose(states[0], inverter.network)
    with Largest() as largest:
        found = replace(inverter, policy=Prepared(proposal)).invert_all(states)
    assert found[0].token_ids == warm[0].token_ids == prompts[0]
    assert largest.elements < model.vocabulary_size * model.width, largest.made_by


def test_a_table_would_be_noticed():
    with Largest() as largest:
        rows = torch.ones(100, 10)
        (rows - rows[0]).norm(dim=1)
    assert largest.elements == 1000


# Global switches.


def switches():
    from transformers.utils import logging as library

    names = (None, "transformers", "huggingface_hub", "torch", "sipit")
    return {
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "interop": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "generator": torch.get_rng_state().tolist(),
        "device": torch.get_default_device(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "verbosity": library.get_verbosity(),
        "bars": library.is_progress_bar_enabled(),
        "levels": [logging.getLogger(name).level for name in names],
    }


@pytest.mark.parametrize(
    "name", ["tiny-gpt2", "tiny-mixtral", pytest.param("smollm2", marks=pytest.mark.slow), "nobody/nothing"]
)
def test_loading_leaves_all_switches_as_found(name):
    before = switches()
    with contextlib.suppress(LookupError, ValueError):
        sipit.load_model(name, dtype="bfloat16" if name == "tiny-gpt2" else "float32")
    assert switches() == before


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_capture_and_inversion_leave_all_switches_as_found(empty_cache, policy):
    """The cache is empty, so that noise is measured and probes are trained under the same rule."""
    model = tiny("gpt2")
    before = switches()
    states = sipit.capture(model, [[1, 2, 3], [4, 5]], layer=1, batch=2)
    sipit.capture(model, [[1, 2, 3]], layer="final", cached=True)
    sipit.invert(model, states, policy=policy)
    assert switches() == before


def test_python_and_numpy_generators_are_left_alone():
    import random

    import numpy as np

    before = random.getstate(), np.random.get_state()[1].tolist()
    model = sipit.load_model("tiny-opt")
    sipit.invert(model, sipit.capture(model, ["abc"], layer=1))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_states_need_no_gradient_and_the_model_keeps_its_weights():
    model = tiny("llama")
    weights = [parameter.clone() for parameter in model.module.parameters()]
    states = sipit.capture(model, [[1, 2, 3]], layer=2)
    sipit.invert(model, states)
    assert not states[0].requires_grad
    assert all(torch.equal(a, b) for a, b in zip(weights, model.module.parameters(), strict=True))


def test_the_largest_memory_is_that_of_this_process_and_not_of_the_one_that_started_it():
    child = f"{sys.executable!r}, '-c', 'from sipit.memory import peak_memory; print(peak_memory())'"
    parent = f"import subprocess; held = b'x' * 2**30; subprocess.run([{child}], check=True); del held"
    done = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 0.5
