"""Probes from few states, and rivals where they can matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from numerics.pairs.row_classes import row_classes
from numerics.pairs.suspects import suspect_rows
from proofs.errors import InvalidInput
from sipit.inversion.inverter import Inverter
from sipit.inversion.linear_probe import _TEMPERATURES, calibrated, fit_probe, ranks_of
from sipit.inversion.search import RIVALS
from sipit.inversion.verifier import DISTANT
from tests.sipit.cases import random_prompts, tiny


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [20, 200])
def test_a_probe_of_fewer_states_than_coordinates_names_tokens(count):
    """States that carry their row, in 64 coordinates: of 20 of them least squares knows no answer."""
    rows = drawn(500, 64, seed=1)
    rows = rows - rows.mean(0)
    tokens, others = torch.arange(count), torch.arange(300, 500)
    states = rows + 0.3 * drawn(500, 64, seed=2) + drawn(64, seed=3)
    probe = fit_probe(states[tokens], tokens, rows)
    ranks = ranks_of(probe, states[others], others)
    assert float((ranks == 0).float().mean()) > (0.5 if count < 64 else 0.95)


@given(seed=st.integers(0, 10**6), noise=st.sampled_from([0.01, 0.3, 3.0]))
def test_the_temperature_is_that_which_makes_held_out_tokens_likeliest(seed, noise):
    rows = drawn(40, 8, seed=seed)
    rows = rows - rows.mean(0)
    states = rows @ drawn(8, 12, seed=seed + 1) + noise * drawn(40, 12, seed=seed + 2)
    probe, tokens = fit_probe(states[:20], torch.arange(20), rows), torch.arange(20, 40)
    scores = probe.scores(probe.features(states[20:]))
    losses = torch.stack([torch.nn.functional.cross_entropy(scores / t, tokens) for t in _TEMPERATURES.tolist()])
    chosen = losses[(calibrated(probe, states[20:], tokens).temperature == _TEMPERATURES).nonzero().item()]
    torch.testing.assert_close(chosen, losses.min(), rtol=1e-5, atol=1e-5)


def test_the_order_of_a_probe_is_that_of_gaussian_likelihoods():
    rows = drawn(40, 8, seed=4)
    rows = rows - rows.mean(0)
    states = rows @ drawn(8, 12, seed=5) + 0.1 * drawn(40, 12, seed=6)
    probe = fit_probe(states, torch.arange(40), rows)
    features = probe.features(states[:5])
    expected = torch.stack([probe.expected(token) for token in range(40)])
    likelihood = -(features[:, None] - expected).square().sum(2) / 2
    scores = probe.scores(features)
    torch.testing.assert_close(scores - scores[:, :1], likelihood - likelihood[:, :1], rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10**6))
def test_closeness_orders_tokens_by_the_distance_of_their_expected_states(seed):
    rows = drawn(40, 8, seed=seed)
    rows = rows - rows.mean(0)
    states = rows @ drawn(8, 12, seed=seed + 1) + 0.1 * drawn(40, 12, seed=seed + 2)
    probe = fit_probe(states, torch.arange(40), rows)
    expected = (probe.rows @ probe.decode * probe.scale).double()
    tokens, among = torch.tensor([3, 17]), torch.arange(40).expand(2, -1)
    close = probe.closeness(tokens, among).double()
    distances = torch.cdist(expected[tokens], expected).square() / 2
    torch.testing.assert_close(close[:, :1] - close, distances - distances[:, :1], rtol=1e-3, atol=1e-3)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(["gpt2", "llama"]))
def test_fewer_rivals_change_no_answer_and_lie_far(seed, family):
    model = tiny(family)
    prompts = random_prompts(1, shortest=4, longest=9, seed=seed)
    states = sipit.capture(model, prompts, layer=1)
    (few,) = Inverter.open(model, states).invert_all(states)
    (many,) = Inverter.open(model, states, rivals=RIVALS).invert_all(states)
    assert (few.outcome, few.token_ids) == (many.outcome, many.token_ids)
    for one, other in zip(few.tokens, many.tokens, strict=True):
        assert one.rivals_tested >= 2 and other.rivals_tested >= RIVALS
        near = one.margin <= DISTANT * max(one.tolerance, one.residual)
        assert one.rivals_tested >= RIVALS or not near


def test_a_number_of_rivals_that_is_none_is_refused():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2]], layer=1)
    with pytest.raises(InvalidInput, match="rivals"):
        sipit.invert(model, states, rivals=0)


@given(seed=st.integers(0, 10**6), bfloat16=st.booleans())
def test_classes_of_rows_are_those_of_their_values(seed, bfloat16):
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randint(-1, 2, (30, width), generator=generator).float() * -1.0 for width in (2, 1)]
    tables = [table.bfloat16() if bfloat16 else table for table in tables]
    joined = torch.cat(tables, dim=1)
    expected = [int((joined == row).all(1).nonzero()[0]) for row in joined]
    assert row_classes(*tables) == expected
    assert row_classes(joined) == expected


def test_rows_that_were_never_trained_are_suspected_and_zeros_are_told_apart():
    table = drawn(400, 32, seed=7)
    table[11], table[12] = 0.0, 0.0
    reserved = [5, 60, 61, 399]
    table[reserved] = 0.01 * drawn(4, 32, seed=8) + 0.02
    found = suspect_rows(table)
    assert found.zero == (11, 12)
    assert list(found.suspect) == reserved
    assert suspect_rows(drawn(400, 32, seed=9)).suspect == ()


def test_a_probe_of_the_only_token_names_it():
    rows = torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    probe = fit_probe(rows, torch.tensor([0]), rows)
    assert probe.scores(probe.features(rows)).isfinite().all()
