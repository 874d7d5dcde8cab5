"""Attention sinks behind the first position: they are read by the probe of the first, and foretell nothing."""

import pytest
import torch

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.policies.prior import Prior, doubtful
from sipit.inversion.probes import LinearProbe, Probes

WIDTH, VOCABULARY = 16, 8
ROWS = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0))


def probe(mean):
    one = torch.ones(WIDTH)
    return LinearProbe(mean, one, torch.eye(WIDTH), torch.eye(WIDTH), torch.ones(()), ROWS)


def probes():
    """The first state points along the first axis, all later ones along the last."""
    first, later = torch.zeros(2, WIDTH)
    first[0] = later[-1] = WIDTH**0.5
    return Probes(probe(first), probe(later))


def states(kinds):
    """Massive sinks and ordinary states of token 0, 1, 2 …, by kind."""
    pair = probes()
    rows = [(pair.first if sink else pair.later).mean + 0.2 * ROWS[token] for token, sink in enumerate(kinds)]
    return torch.stack([row * (1000 if sink else 1) for row, sink in zip(rows, kinds, strict=True)])


@pytest.mark.parametrize("kinds", [[1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0, 0], [1]])
def test_sinks_are_told_by_their_direction(kinds):
    assert probes().sinks(states(kinds)).tolist() == [bool(kind) for kind in kinds]


def test_the_first_state_is_read_by_its_own_probe_whatever_it_looks_like():
    assert probes().sinks(states([0, 0])).tolist() == [True, False]


def test_every_row_is_scored_by_the_probe_of_its_kind():
    pair, kinds = probes(), [1, 1, 0, 1, 0]
    observed = states(kinds)
    sinks = pair.sinks(observed)
    features = pair.features(observed, sinks)
    scores = pair.scores(features, sinks)
    for row, sink in enumerate(kinds):
        own = pair.first if sink else pair.later
        assert torch.allclose(scores[row], own.scores(own.features(observed[row : row + 1]))[0])


def test_there_is_no_prior_behind_a_sink():
    pair, kinds = probes(), [1, 1, 0, 1, 0, 0]
    observed = states(kinds)
    sinks = pair.sinks(observed)
    logits = 50 * torch.eye(VOCABULARY)[torch.full((6,), 7)]  # foretells token 7 everywhere
    asked = doubtful(torch.zeros(6), sinks)
    scores = pair.scores(pair.features(observed, sinks), sinks)
    prior = Prior.of(logits[asked - 1], asked, sinks, lambda positions: scores[positions])
    counts = [bool(row.any()) for row in prior.at(torch.arange(6))]
    assert counts == [False, False, False, True, False, True]  # 0 and 1 come first, 2 and 4 stand behind sinks


@pytest.mark.slow
@pytest.mark.parametrize("text", ["0000000000000000", " the" * 40])
def test_a_token_over_and_over_comes_back_from_the_real_model(text):
    model = sipit.load_model("smollm2")
    states = sipit.capture(model, [text], layer=15)
    (inversion,) = Inverter.open(model, states).invert_all(states)
    assert inversion.text == text
    assert inversion.candidates_tested < model.vocabulary_size
