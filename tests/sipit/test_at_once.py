"""Threads of one process that share a model, or load models, get what each gets alone."""

import logging
import warnings

import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from numerics.networks.casting import cast
from numerics.networks.library import quiet, unlogged
from sipit.models.network import Network
from sipit.models.tiny import tiny_module
from sipit.noise.spread import perturbed_runs
from sipit.privacy.runs import _threads, attention_of
from tests.at_once import at_once
from tests.sipit.cases import tiny

LAYER = 1
PROMPTS = st.lists(st.integers(0, 255), min_size=1, max_size=6)


def run(ids, layer=LAYER):
    return Network(tiny("llama"), layer).run(torch.tensor([ids]))


# What is run, hooked or not, in every way that is there: each of one prompt.
RUNS = {
    "capture": lambda ids: sipit.capture(tiny("llama"), [ids], layer=LAYER)[0],
    "a layer": run,
    "the embedding": lambda ids: run(ids, 0),
    "the end": lambda ids: run(ids, "final"),
    "observed": lambda ids: sipit.capture(tiny("llama"), [ids], layer=LAYER, observe="mlp-out")[0],
    "from rows": lambda ids: Network(tiny("llama"), LAYER).run_embeddings(
        torch.tensor([ids]), torch.ones(len(ids), tiny("llama").width)
    ).detach(),
    "the rest": lambda ids: Network(tiny("llama"), LAYER).next_token_logits(
        torch.ones(len(ids), tiny("llama").width), torch.tensor([len(ids) - 1]), token_ids=ids
    ),
    "the rest behind the norm": lambda ids: Network(tiny("llama"), "final").next_token_logits(
        torch.ones(len(ids), tiny("llama").width)
    ),
    "perturbed": lambda ids: perturbed_runs(Network(tiny("llama"), LAYER), torch.tensor([ids]), 1e-3, samples=2),
}  # fmt: skip


@settings(max_examples=10)
@given(st.lists(st.tuples(st.sampled_from(sorted(RUNS)), PROMPTS), min_size=2, max_size=3))
def test_runs_of_one_model_are_those_of_one_alone(drawn):
    works = [lambda name=name, ids=ids: RUNS[name](ids) for name, ids in drawn]
    alone = [work() for work in works]
    for one, other in zip(at_once(*works), alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    module = tiny("llama").module
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_models_drawn_at_once_are_those_drawn_alone():
    alone = [tiny_module("llama", seed=seed).state_dict() for seed in range(2)]
    for one, other in zip(at_once(*(lambda s=s: tiny_module("llama", seed=s).state_dict() for s in range(2))), alone,
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def settings_of_the_process():
    model = tiny("llama").module
    return (
        torch.get_default_dtype(), torch.get_num_threads(), logging.root.manager.disable,
        transformers.utils.logging.get_verbosity(), logging.getLogger("huggingface_hub").level,
        transformers.utils.logging.is_progress_bar_enabled(), [*warnings.filters], torch.get_rng_state().tolist(),
        model.config._attn_implementation,
    )  # fmt: skip


def entered(context):
    def enter():
        with context():
            torch.ones(300, 300) @ torch.ones(300, 300)  # other threads have their turn

    return enter


SETTINGS = {
    "quiet": entered(quiet),
    "unlogged": entered(unlogged),
    "threads": entered(lambda: _threads(2)),
    "attention": entered(lambda: attention_of(tiny("llama"), "eager")),
    "a half type": lambda: cast(tiny_module("llama", seed=0), torch.bfloat16),
    "drawing": lambda: tiny_module("gpt2", seed=1),
}


@settings(max_examples=10)
@given(st.lists(st.sampled_from(sorted(SETTINGS)), min_size=2, max_size=3))
def test_settings_of_the_process_are_left_as_found(names):
    before = settings_of_the_process()
    found = at_once(*(SETTINGS[name] for name in names))
    assert not [error for error in found if isinstance(error, Exception)]
    assert settings_of_the_process() == before
