"""A context is a limit exactly where a body does not run longer prompts."""

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from numerics.networks.shrinking import small_copy
from numerics.networks.text_class import context_of, with_context
from proofs.errors import InvalidInput
from sipit.models.architecture import language_model_of
from sipit.models.beyond import its_class_runs
from sipit.models.language_model import LanguageModel
from sipit.models.tiny import drawn_module
from sipit.prompts.reading import tokenize

CONTEXT = 16
UNLIMITED = ("jamba", "nemotron_h", "kimi_linear", "zamba", "rwkv", "granitemoehybrid", "xglm", "llama", "gpt_oss")
LIMITED = ("gpt2", "gpt_neo", "gptj", "ctrl", "opt", "mpt", "openai-gpt", "biogpt", "roberta")
OPTIONS: dict[str, dict[str, Any]] = {"roberta": {"is_decoder": True}}


@functools.cache
def model(name: str) -> LanguageModel:
    config = with_context(small_copy(AutoConfig.for_model(name, **OPTIONS.get(name, {}))), CONTEXT)
    return language_model_of(name, drawn_module(config, seed=0))


def runs(name: str, length: int) -> bool:
    """Whether the body itself runs a prompt of so many tokens, none of them special."""
    body: Any = model(name).decoder.body
    try:
        with torch.inference_mode():
            states = body(input_ids=3 + torch.arange(length)[None] % 29, use_cache=False)[0]
    except (IndexError, RuntimeError):
        return False
    return bool(torch.isfinite(states).all())


@seed(0)
@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from((*UNLIMITED, *LIMITED)), length=st.integers(1, 3 * CONTEXT))
def test_a_prompt_is_taken_exactly_where_its_body_runs(name: str, length: int) -> None:
    limit = model(name).limit
    assert (limit is None or length <= limit) == runs(name, length)


@pytest.mark.parametrize("name", UNLIMITED)
def test_no_prompt_is_too_long_where_nothing_ends_at_the_context(name: str) -> None:
    found = model(name)
    assert (found.context, found.limit) == (CONTEXT, None)
    assert tokenize(found, [[5] * (CONTEXT + 1)]) == [[5] * (CONTEXT + 1)]
    assert f"beyond the {CONTEXT}" in found.warnings([CONTEXT + 1])[0]


@pytest.mark.parametrize("name", LIMITED)
def test_tables_and_biases_of_one_context_end_there(name: str) -> None:
    found = model(name)
    assert found.limit == found.context
    assert not runs(name, CONTEXT + 1)
    with pytest.raises(InvalidInput, match="shorten it"):
        tokenize(found, [[5] * (CONTEXT + 1)])


def test_another_class_than_the_configurations_is_not_vouched_for() -> None:
    jamba, other = model("jamba"), torch.nn.Linear(1, 1)
    config: Any = jamba.module.config
    assert context_of(config) == CONTEXT
    cpu, abilities = torch.device("cpu"), jamba.abilities
    assert its_class_runs(jamba.decoder.body, config, abilities, cpu)
    assert not its_class_runs(other, config, abilities, cpu)
