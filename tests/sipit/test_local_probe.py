"""What candidates that do not fit show of those that were not tested (`sipit.inversion.local_probe`)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.local_probe import LocalProbe
from sipit.models.architecture import language_model_of

ENTRIES, WIDTH, VOCABULARY = 12, 20, 2000


def setting(seed, bend=0.0):
    """Rows, and what has the states (n, d) of tokens behind a prefix that all have in common."""
    generator = torch.Generator().manual_seed(seed)
    rows, way = torch.randn(VOCABULARY, ENTRIES, generator=generator), torch.randn(ENTRIES, WIDTH, generator=generator)
    prefix = 30 * torch.randn(WIDTH, generator=generator)

    def states(tokens):
        straight = rows[tokens] @ way
        return prefix + straight + bend * straight.abs()

    return rows, states, torch.randperm(VOCABULARY, generator=generator)


def learned(states, tested, truth, *, position=3, before=None):
    probe = LocalProbe.at(position, states(truth[None])[0], before)
    probe.add(tested, states(tested))
    return probe


def rank(scores, truth):
    return int((scores > scores[truth]).sum())


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]))
def test_the_right_token_comes_first_where_states_are_nearly_linear_in_rows(seed, bend):
    rows, states, order = setting(seed, bend)
    probe = learned(states, order[1:401], order[0])
    assert rank(probe.scores(rows)[-1], order[0]) <= 2


@given(st.integers(0, 1000), st.floats(0.1, 10.0))
def test_what_was_learned_before_counts_whatever_its_prefix_and_size(seed, size):
    rows, states, order = setting(seed)
    before = learned(lambda tokens: size * states(tokens) - 5, order[100:500], order[500])
    probe = learned(states, order[1:17], order[0], position=4, before=before)
    assert len(probe.scores(rows)) == 1
    assert rank(probe.scores(rows)[-1], order[0]) <= 20
    assert learned(states, order[1:17], order[0]).scores(rows) == []  # alone these few show nothing


@given(st.integers(0, 1000))
def test_a_choice_of_candidates_does_not_lead_astray(seed):
    rows, states, order = setting(seed)
    likely = order[1:][(rows[order[1:]] @ rows[order[1]]).argsort(descending=True)[:300]]
    probe = learned(states, likely, order[0])
    assert rank(probe.scores(rows)[-1], order[0]) <= 5


def test_positions_where_a_token_counts_far_more_are_not_taken_over():
    _, states, order = setting(0)
    before = learned(states, order[100:500], order[500], position=3)
    assert [len(LocalProbe.at(later, before.observed, before).earlier) for later in (2, 3, 4, 7, 8)] == [0, 0, 1, 1, 0]


def test_what_is_not_finite_is_not_learned_from():
    rows, states, order = setting(0)
    probe = learned(states, order[1:401], order[0])
    (expected,) = probe.scores(rows)
    broken = states(order[401:411])
    broken[:, 3] = torch.tensor([torch.nan, torch.inf] * 5)
    probe.add(order[401:411], broken)
    assert torch.equal(probe.scores(rows)[0], expected)


def test_states_that_are_all_equal_give_no_order_or_any():
    rows, _, order = setting(0)
    probe = LocalProbe.at(1, torch.ones(WIDTH), None)
    probe.add(order[:400], torch.ones(400, WIDTH))
    assert all(bool(scores.isfinite().all()) for scores in probe.scores(rows))


def test_a_view_of_the_states_sees_what_it_is_learned_of():
    rows, states, order = setting(0)
    before = learned(states, order[100:500], order[500])
    probe = learned(states, order[1:201], order[0], position=4, before=before)
    turned = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))).Q
    assert rank(probe.seen_through(lambda some: some @ turned).scores(rows)[-1], order[0]) == 0


def test_it_holds_no_more_rows_than_it_learns_from():
    _, states, order = setting(0)
    before = learned(states, order, order[0])
    for _ in range(5):
        before.add(order, states(order))
    assert before.full and len(before.tokens) == 8192
    after = LocalProbe.at(4, before.observed, before)
    assert sum(len(tokens) for _, tokens, _ in after.earlier) == 2048
    wide = LocalProbe.at(0, torch.zeros(2**16), None)
    wide.add(order[:500], torch.ones(500, 2**16))
    assert wide.full and wide.states.numel() <= 2**24


@pytest.mark.parametrize("count", [300, 2000])
def test_both_forms_are_the_ridge_regression(count):
    """Fewer candidates than a row has entries, and more."""
    generator = torch.Generator().manual_seed(0)
    rows, states = torch.randn(2100, 600, generator=generator), torch.randn(2100, 8, generator=generator)
    probe = LocalProbe.at(0, states[0], None)
    probe.add(torch.arange(1, count + 1), states[1 : count + 1])
    inputs = (rows[1 : count + 1] - rows[1 : count + 1].mean(0)).double()
    x = states[1 : count + 1].double() - states[1 : count + 1].mean(0)
    size = x.square().sum(1).mean().sqrt()
    scale = (x / size).std(0)
    way = torch.linalg.solve(
        inputs.T @ inputs + 0.5 * inputs.square().sum(1).mean() * torch.eye(600), inputs.T @ (x / size / scale)
    )
    expected = (rows.double() - rows[1 : count + 1].mean(0)) @ way
    seen = (states[0].double() - states[1 : count + 1].mean(0)) / size / scale
    (found,) = probe.scores(rows)
    right = expected @ seen - expected.square().sum(1) / 2
    torch.testing.assert_close((found - found.mean()).double(), right - right.mean(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_mostly_mixes_tokens_is_inverted_with_few_candidates():
    """With random weights as libraries draw them a probe of the whole model names next to nothing."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16_000, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = language_model_of("random Llama", AutoModelForCausalLM.from_config(config).requires_grad_(False).eval())
    prompt = torch.randint(16_000, (12,), generator=torch.Generator().manual_seed(1)).tolist()
    states = sipit.capture(model, [prompt], layer=7)
    (inversion,) = Inverter.open(model, states).invert_all(states, truth=[prompt])
    assert inversion.token_ids == prompt
    later = [token.candidates_tested for token in inversion.tokens[2:]]
    assert sum(later) / len(later) < 400  # of 16,000; without it 4,000
