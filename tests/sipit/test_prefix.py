"""Candidates behind a prefix have the states of plain runs, whatever is shared."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from sipit.models.network import Network
from sipit.models.tiny import tiny_config
from sipit.prefix.choice import prefix_opener
from sipit.prefix.kinds import CachedPrefix, RecomputedPrefix
from sipit.prefix.packed import PackedPrefix, candidates_together, extend_together
from tests.sipit.cases import ALL_FAMILIES, EACH_KIND, language_model, tiny


@settings(max_examples=5)
@given(data=st.data())
@pytest.mark.parametrize("family", EACH_KIND)
def test_candidates_are_what_a_plain_run_gives(family, data):
    """Extend, cut back, extend again, and try tokens at any positions: always the state of prefix and candidate."""
    model, layer = tiny(family), 2
    network = Network(model, layer)
    prefix = prefix_opener(network)(network)
    ids = st.integers(0, 511)
    prompt = []
    for _ in range(2):
        start = data.draw(st.integers(0, len(prompt)))
        prompt = prompt[:start] + data.draw(st.lists(ids, min_size=1, max_size=20))
        other = [(token + 1) % 512 for token in prompt[start:]]
        extended = prefix.extend(start, torch.tensor([other, prompt[start:]]))
        plain = network.run(torch.tensor([prompt[:start] + other, prompt]))[:, start:]
        assert_close(extended, plain)
        prefix.keep(1)
        pairs = data.draw(st.lists(st.tuples(st.integers(0, len(prompt)), ids), min_size=1, max_size=6))
        states = prefix.candidates(torch.tensor([at for at, _ in pairs]), torch.tensor([token for _, token in pairs]))
        for (at, token), state in zip(pairs, states, strict=True):
            alone = network.run(torch.tensor([[*prompt[:at], token]]))[0, -1:]
            assert_close(state[None], alone)


def assert_close(one, other):
    assert one.shape == other.shape
    assert float(((one - other).norm(dim=-1) / other.norm(dim=-1)).max()) < 2e-5


def test_keys_are_shared_wherever_that_is_right():
    opened = {family: prefix_opener(Network(tiny(family), 2)) for family in ALL_FAMILIES}
    assert {family for family, opener in opened.items() if opener is RecomputedPrefix} == {"mamba"}
    # A window, or places told by the mask, do not go with many candidates in one row.
    assert {family for family, opener in opened.items() if opener is CachedPrefix} == {
        "gpt-neo", "bloom", "mistral", "gemma3",
    }  # fmt: skip


def test_a_cache_that_does_not_agree_is_not_used(monkeypatch):
    """No model is trusted by its name: shared keys that give other states are noticed, and prefixes recomputed."""
    network = Network(tiny("gpt2"), 2)
    genuine = CachedPrefix.extend

    def wrong(self, start, drafts):
        return genuine(self, start, drafts) * 1.01

    monkeypatch.setattr(CachedPrefix, "extend", wrong)
    assert prefix_opener(network) is RecomputedPrefix


@pytest.mark.parametrize("family", ["gpt2", "llama", "falcon"])
def test_prompts_that_run_together_give_what_each_gives_alone(family):
    """Drafts and candidates of several prompts, of unequal lengths and starts, before anything was run as well."""
    network = Network(tiny(family), 2)
    opener = prefix_opener(network)
    prompts = [list(range(10, 10 + length)) for length in (40, 3, 1)]  # longer than what packing was tried on
    drafts = [torch.tensor([prompt, prompt[::-1]]) for prompt in prompts]
    alone, together = ([opener(network) for _ in prompts] for _ in range(2))
    for start in (0, 1):
        parts = [(prefix, start, rows[:, start:]) for prefix, rows in zip(together, drafts, strict=True)][: 3 - start]
        found = extend_together(parts)
        for number, states in enumerate(found):
            assert_close(states, alone[number].extend(start, drafts[number][:, start:]))
            alone[number].keep(1)
            together[number].keep(1)
    asked = [(torch.tensor([len(p), 0, len(p) - 1]), torch.tensor([7, 8, 9])) for p in prompts]
    found = candidates_together([(prefix, *ask) for prefix, ask in zip(together, asked, strict=True)])
    for prefix, ask, states in zip(alone, asked, found, strict=True):
        assert_close(states, prefix.candidates(*ask))


def test_packing_that_turns_out_wrong_farther_back_is_given_up():
    """A window longer than the prompt it was tried on is noticed when candidates first stand beyond it."""
    config = tiny_config("mistral")
    config.sliding_window = 24
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).requires_grad_(False).eval()
    network = Network(language_model(module), 2)
    prefix = prefix_opener(network)(network)
    assert isinstance(prefix, PackedPrefix)
    prompt = torch.arange(60)
    prefix.extend(0, prompt[None])
    prefix.keep(0)
    states = prefix.candidates(torch.tensor([10, 50]), torch.tensor([7, 8]))
    assert not prefix.tried.agrees
    for at, token, state in zip((10, 50), (7, 8), states, strict=True):
        alone = network.run(torch.tensor([[*prompt[:at].tolist(), token]]))[0, -1:]
        assert_close(state[None], alone)
