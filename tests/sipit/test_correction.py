"""What a run of a draft shows of the right tokens: exact where the probe's model of the states is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sipit.inversion.correction import Correction, fit_correction
from sipit.inversion.linear_probe import LinearProbe

WIDTH, VOCABULARY = 12, 40


def probe(generator):
    rows = torch.randn(VOCABULARY, WIDTH, generator=generator)
    decode, whiten = (torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5 for _ in range(2))
    zero, one = torch.zeros(WIDTH), torch.ones(WIDTH)
    return LinearProbe(zero, one, decode, whiten, torch.tensor(2.0), rows - rows.mean(0))


def tokens(generator, *shape):
    return torch.randint(VOCABULARY, shape, generator=generator)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 5), count=st.integers(1, VOCABULARY))
def test_scores_of_some_tokens_are_those_among_all(seed, rows, count):
    generator = torch.Generator().manual_seed(seed)
    one, some = probe(generator), tokens(generator, rows, count)
    features = torch.randn(rows, WIDTH, generator=generator)
    assert torch.allclose(one.scores_of(some, features), one.scores(features).gather(1, some), rtol=1e-4, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0.2, 1.0), noise=st.floats(0.0, 100.0))
def test_what_other_tokens_bring_in_cancels(seed, share, noise):
    """Both states have the same noise, however large, and went a share of the way: the right token is named."""
    generator = torch.Generator().manual_seed(seed)
    one = probe(generator)
    drafted, truth = tokens(generator, 2, 8)
    common = noise * torch.randn(8, WIDTH, generator=generator)
    run = one.expected(drafted) + common
    seen = run + share * (one.expected(truth) - one.expected(drafted))
    corrected = Correction(share, 1.0).features(seen, run, one.expected(drafted))
    best = one.scores(corrected).argmax(1)
    assert torch.allclose(one.expected(best), one.expected(truth), atol=1e-2)


@pytest.mark.parametrize("share", [0.35, 0.5, 1.0])
def test_the_share_is_found_and_nothing_where_a_run_says_nothing(share):
    generator = torch.Generator().manual_seed(1)
    one = probe(generator)
    drafted, truth = tokens(generator, 2, 200)
    common, other = (3 * torch.randn(200, WIDTH, generator=generator) for _ in range(2))
    run = one.expected(drafted) + common
    seen = run + share * (one.expected(truth) - one.expected(drafted))
    found = fit_correction(one, seen, run, drafted, truth)
    assert found is not None and found.share == share
    exact = one.expected(truth)  # nothing is left to be corrected, and what ran has nothing to do with it
    assert fit_correction(one, exact, one.expected(drafted) + other, drafted, truth) is None
