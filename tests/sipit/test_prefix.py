"""Candidates behind a prefix have the states of plain runs, whatever is shared."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit.inversion.inverter import Inverter
from sipit.models.architecture import Scaled
from sipit.models.network import Network
from sipit.models.tiny import drawn_module, tiny_config, tiny_tokenizer
from sipit.prefix import packed
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


def windowed(window, *changes):
    """A tiny Mistral with a window, after changes of its parameters."""
    config = tiny_config("mistral")
    config.sliding_window = window
    module = drawn_module(config, seed=0)
    with torch.no_grad():
        for change in changes:
            change.apply(module)
    return language_model(module, tokenizer=tiny_tokenizer("mistral"))


@settings(max_examples=6)
@given(data=st.data())
def test_a_window_is_noticed_by_the_first_candidate_behind_it(data):
    """However little what it hides would add, and wherever it ends: the states are never those of another mask."""
    window, power = data.draw(st.integers(4, 32)), data.draw(st.integers(-10, 0))
    network = Network(windowed(window, Scaled("o_proj", power), Scaled("down_proj", 3)), data.draw(st.integers(1, 2)))
    prefix, prompt = prefix_opener(network)(network), torch.arange(10, 50)
    first = data.draw(st.integers(max(1, window - 4), window + 1))
    for length in range(first, window + 4):
        start = length - 1 if length > first else 0
        prefix.extend(start, prompt[None, start:length])
        prefix.keep(0)
        states = prefix.candidates(torch.tensor([length, length]), torch.tensor([7, 8]))
        alone = network.run(torch.stack([torch.cat([prompt[:length], torch.tensor([token])]) for token in (7, 8)]))
        assert_close(states, alone[:, -1])


@pytest.mark.parametrize("policy", ["exhaustive", "nearest", "draft"])
def test_no_window_makes_states_those_of_no_prompt(policy, monkeypatch):
    """Even where the candidate that packing was held to shows nothing: `not_found` rests on plain runs."""
    model = windowed(24, Scaled("o_proj", -4))
    prompts = [[(7 * i + 3) % 512 for i in range(27)], [(5 * i + 1) % 512 for i in range(26)]]
    states = sipit.capture(model, prompts, layer=1)
    monkeypatch.setattr("sipit.prefix.compared.Tried.same", lambda *_: True)
    found = sipit.invert(model, states, policy=policy, tolerance=1e-5)
    assert [inversion.token_ids for inversion in found] == prompts


@pytest.mark.parametrize("smallest", [1, 8192], ids=["with the table", "without"])
def test_first_states_that_are_not_of_plain_runs_are_neither_used_nor_kept(smallest, monkeypatch):
    """Packing that goes wrong once it was chosen, at the first position: the table of its states is run anew."""
    model, prompt = tiny("llama"), [3, 10, 17, 24]
    states = sipit.capture(model, [prompt], layer=2)
    monkeypatch.setattr("sipit.inversion.first_states.SMALLEST", smallest)
    opener = prefix_opener(Network(model, 2))
    monkeypatch.setattr("sipit.inversion.inverter.prefix_opener", lambda network: opener)
    run = packed._run_candidates
    monkeypatch.setattr("sipit.prefix.packed._run_candidates", lambda parts: [1.05 * states for states in run(parts)])
    for _ in range(2):  # the second time with what was kept
        (found,) = sipit.invert(model, states, policy="nearest", tolerance=1e-5)
        assert found.token_ids == prompt


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-8), ("bfloat16", 1e-4)])
def test_rounding_is_no_reason_to_refuse_or_to_pack_no_more(dtype, tolerance):
    """Not of a tolerance that asks for less, nor of a row that is small beside the states of the model."""
    model = tiny("llama", dtype)
    rows = torch.randn(8, model.width, generator=torch.Generator().manual_seed(0))
    (found,) = sipit.invert(model, sipit.States((rows,), layer=2), policy="nearest", tolerance=tolerance)
    assert found.outcome == "not_found"
    prompt = list(range(40, 70))
    (own,) = sipit.capture(model, [prompt], layer=2)
    shrunk = sipit.States((torch.where(torch.arange(30)[:, None] == 25, own / 1000, own),), layer=2)
    inverter = Inverter.open(model, shrunk, policy="nearest")
    tried = []
    opened = inverter.open_prefix

    def opening(network):
        tried.append(opened(network))
        return tried[-1]

    (found,) = replace(inverter, open_prefix=opening).invert_all(shrunk)
    assert found.token_ids[:25] == prompt[:25] and found.token_ids[25] is None
    assert all(prefix.tried.agrees for prefix in tried)


def test_packing_that_turns_out_wrong_farther_back_is_given_up():
    """A window longer than the prompt it was tried on is noticed when candidates first stand beyond it."""
    network = Network(windowed(24), 2)
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
