"""The answer does not depend on the order, the batches, the seed, the policy or the number of threads."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.policies import make_policy
from tests.sipit.cases import EACH_POLICY, answers, inverted, relabelled, with_rows

MODEL = with_rows("llama", [(65, 300), (65, 7)])  # a class of three
PROMPTS = [[10, 11, 12, 13, 14, 15], [1, 65, 2, 300, 3], [20, 21, 22]]
LAYER = 2


def hard_states():
    """An exact prompt, one with classes, one off every prompt from its second position, and one with noise inside."""
    states = sipit.capture(MODEL, PROMPTS, layer=LAYER, cached=True)
    broken = states[2].clone()
    broken[1] *= 1.5
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(states[0].shape, generator=generator)
    noisy = states[0] + 1e-6 * noise * states[0].norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    return relabelled(states, [*states[:2], broken, noisy])


STATES = hard_states()


@cache
def reference():
    return answers(inverted(MODEL, STATES, policy="exhaustive"))


@dataclass(frozen=True)
class Shuffled:
    """A policy that tries the vocabulary in a random order, and drafts nonsense."""

    seed: int
    inner: object

    def propose(self, states, network):
        return ShuffledProposal(self.seed, self.inner.propose(states, network))


@dataclass(frozen=True)
class ShuffledProposal:
    seed: int
    inner: object

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def _order(self, position):
        generator = torch.Generator().manual_seed(1000 * self.seed + position)
        return torch.randperm(MODEL.vocabulary_size, generator=generator)

    def leading(self, position):
        return self._order(position)[:64]

    def resembling(self, position):
        return self._order(position)[:64]

    def ranking(self, position, trial, prefix):
        return self._order(position)

    def rivals(self, positions, tokens):
        return [None] * len(positions)

    def behind(self, start, tokens, states, refuted, prefix):
        return self


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_policies_agree(policy):
    assert answers(inverted(MODEL, STATES, policy=policy)) == reference()


@settings(max_examples=4)
@given(seed=st.integers(0, 1000), policy=st.sampled_from(["nearest", "exhaustive"]))
def test_any_permutation_of_the_candidates(seed, policy):
    inverter = Inverter.open(MODEL, STATES, policy="nearest")
    shuffled = Shuffled(seed, make_policy(policy, inverter.network))
    assert answers(replace(inverter, policy=shuffled).invert_all(STATES)) == reference()


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 7, 64, 10**6])
def test_any_size_of_the_pieces(monkeypatch, size):
    expected = reference()
    for name in ("sipit.inversion.verifier.PIECE", "sipit.inversion.search.PIECE"):
        monkeypatch.setattr(name, size, raising=False)
    policy = "exhaustive" if size > 1 else "nearest"
    assert answers(inverted(MODEL, STATES, policy=policy)) == expected


@pytest.mark.parametrize("memory", [1, 2**16, 2**33])
def test_any_memory_for_a_batch(monkeypatch, memory):
    expected = reference()
    monkeypatch.setattr("sipit.prefix.kinds.MEMORY", memory)
    assert answers(inverted(MODEL, STATES, policy="nearest")) == expected


@pytest.mark.parametrize(("rivals", "first", "growth"), [(1, 1, 2), (5, 3, 2), (100, 200, 10)])
def test_any_number_of_rivals_and_first_candidates(monkeypatch, rivals, first, growth):
    expected = reference()
    monkeypatch.setattr("sipit.inversion.inverter.RIVALS", rivals)
    monkeypatch.setattr("sipit.inversion.search.FIRST", first)
    monkeypatch.setattr("sipit.inversion.search.GROWTH", growth)
    for policy in ("draft", "nearest"):
        assert answers(inverted(MODEL, STATES, policy=policy)) == expected


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_any_state_of_the_global_generator(seed):
    expected = reference()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        assert answers(inverted(MODEL, STATES)) == expected


def test_any_number_of_threads():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(answers(inverted(MODEL, STATES)))
    finally:
        torch.set_num_threads(before)
    assert found == [reference()] * 3


@settings(max_examples=4)
@given(order=st.permutations(range(4)))
def test_any_order_of_the_prompts(order):
    mixed = relabelled(STATES, [STATES[index] for index in order])
    expected = reference()
    assert answers(inverted(MODEL, mixed, policy="nearest")) == [expected[index] for index in order]


def test_twice_is_the_same_to_the_last_bit():
    first, second = (inverted(MODEL, STATES) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert replace(a, seconds=0.0) == replace(b, seconds=0.0)


def test_without_kept_probes_the_answer_is_the_same(empty_cache):
    assert answers(inverted(MODEL, STATES)) == reference()
    assert list(empty_cache.rglob("*.safetensors"))
