"""Prompts longer than what was tried when a model was loaded: what happens only there is noticed where it is used."""

from functools import partial

import pytest
import torch

import sipit
from proofs import InvalidInput, Unsupported
from sipit.inversion.partial import invert_partial
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.states.layered import capture_layers
from tests.sipit.cases import altered, tiny

FAR, LONG = 12, 30  # tokens after which something is otherwise, and of a prompt


def hooked(change) -> LanguageModel:
    """A tiny Llama whose first block hands on something else: `change` is given its states and how it was called."""

    def add(module):
        def behind(_block, _arguments, named, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = change(hidden, named)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        module.model.layers[0].register_forward_hook(behind, with_kwargs=True)

    return altered("llama", add)


def forgetting(hidden, named, by=1):
    """What is remembered leads elsewhere once it is of more than so many tokens."""
    memory = next((value for value in named.values() if hasattr(value, "get_seq_length")), None)
    remembered = 0 if memory is None else memory.get_seq_length()
    return hidden + by if hidden.shape[1] == 1 and remembered > FAR else hidden


def mixing(hidden, _named, by=1):
    """Batches of longer prompts are computed otherwise."""
    return hidden + by if hidden.shape[0] > 1 and hidden.shape[1] > FAR else hidden


def counting(hidden, _named):
    """The states of long runs, all of them, depend on how long the run is."""
    return hidden * (1 + 1e-3 * hidden.shape[1]) + hidden.flip(-1) if hidden.shape[1] > 60 else hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_memory_that_leads_elsewhere_far_on_writes_no_states(dtype):
    model = hooked(forgetting)
    if dtype != torch.float32:
        model = in_dtype(model, dtype)
    short, long = [5, 6, 7], [*range(9, 9 + LONG)]
    assert len(sipit.capture(model, [short], layer=2, cached=True)[0]) == len(short)
    with pytest.raises(Unsupported, match=rf"from position {FAR} on the states of"):
        sipit.capture(model, [short, long], layer=2, cached=True)
    with pytest.raises(Unsupported, match="goes on from a cache"):
        capture_layers(model, [short, long], [1, 2], cached=True)
    for observe, layer in (("keys", 1), ("logits", None)):
        with pytest.raises(Unsupported, match="goes on from a cache"):
            sipit.capture(model, [long], observe=observe, layer=layer, cached=True)
    assert torch.equal(sipit.capture(model, [long], layer=0, cached=True)[0], sipit.capture(model, [long], layer=0)[0])


def test_a_memory_that_leads_elsewhere_by_little_writes_no_states():
    """By less than ill-conditioned states carry, and by many times what states are held to."""
    model = hooked(partial(forgetting, by=1e-4))
    with pytest.raises(Unsupported, match=rf"from position {FAR} on the states of"):
        sipit.capture(model, [[*range(9, 9 + LONG)]], layer=2, cached=True)


@pytest.mark.parametrize("family", ["llama", "mixtral", "mamba", "gemma3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_only_rounds_is_captured(family, dtype):
    model = tiny(family, dtype)
    (rows,) = sipit.capture(model, [[*range(9, 9 + LONG)]], layer=model.layers, cached=True)
    assert len(rows) == LONG


def test_states_that_are_not_finite_are_said_to_be():
    def change(module):
        module.get_input_embeddings().weight[20] = float("nan")

    for cached in (False, True):
        with pytest.raises(InvalidInput, match="finite"):
            sipit.capture(altered("llama", change), [[*range(9, 9 + LONG)]], layer=2, cached=cached)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("by", [1, 1e-4])
def test_what_padding_changes_far_on_runs_alone(padding, by):
    model = hooked(partial(mixing, by=by))
    prompts = [[*range(9, 9 + LONG)], [*range(60, 60 + LONG - 4)], [5, 6, 7]]
    groups = []
    together = sipit.capture(model, prompts, layer=2, batch=3, padding=padding, ran=lambda *group: groups.append(group))
    assert groups == [(3, False)]
    for rows, ids in zip(together, prompts, strict=True):
        assert torch.equal(rows, sipit.capture(model, [ids], layer=2)[0])
    groups = []
    layered = capture_layers(model, prompts, [1, 2], batch=3, padding=padding, ran=lambda *group: groups.append(group))
    assert groups == [(3, False)]
    for stack, ids in zip(layered.stacks, prompts, strict=True):
        for place, layer in enumerate(layered.layers):
            assert torch.equal(stack[place], sipit.capture(model, [ids], layer=layer)[0])


def test_of_states_that_depend_on_the_length_nothing_is_told():
    model = hooked(counting)
    long = [9 + 7 * place % 200 for place in range(70)]
    states = sipit.capture(model, [long], layer=2)
    with pytest.raises(Unsupported, match="depend on the tokens before them alone"):
        sipit.invert(model, states, policy="nearest")
    with pytest.raises(Unsupported, match="depend on the tokens before them alone"):
        invert_partial(model, states[0], layer=2)


def test_states_of_no_prompt_are_still_said_to_be_of_none():
    model = tiny("llama")
    states = sipit.capture(model, [[9, 200, 31, 7, 18]], layer=2)
    rows = states[0].clone()
    rows[3] = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
    (found,) = sipit.invert(model, sipit.States([rows], layer=2), policy="nearest")
    assert found.outcome == "not_found"


def test_a_table_with_a_row_that_is_no_number_is_refused_in_a_sentence():
    def change(module):
        module.get_input_embeddings().weight[300, 4] = float("nan")

    model = altered("llama", change)
    states = sipit.capture(model, [[9, 200, 31]], layer=1)
    with pytest.raises(InvalidInput, match="finite embedding row for every token, but that of token 300"):
        sipit.invert(model, states)
    assert sipit.invert(model, states, policy="nearest")[0].token_ids == [9, 200, 31]


def test_a_float64_body_that_rounds_as_float32_inside_is_causal():
    def leak(hidden, _named):
        last = hidden[:, -1:].mean() if hidden.shape[1] > 1 else 0.0
        return hidden * (1 + 1e-7 * last)

    model = hooked(leak)
    assert in_dtype(model, torch.float64).dtype == torch.float64
