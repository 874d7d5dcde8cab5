"""The cache only saves time; noise is measured relative to each state; candidates behind a prefix are plain runs."""

import os
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import sipit
from proofs.errors import InvalidInput
from sipit.cache import cache_folder, keep_folder, keep_json, keep_tensors, kept_json, kept_tensors
from sipit.models.network import Network
from sipit.models.tiny import tiny_config
from sipit.noise.tolerance import SAFETY, Tolerance, derive_tolerance, measure_noise
from sipit.observations.observation import Observation
from sipit.prefix.choice import prefix_opener
from sipit.prefix.kinds import CachedPrefix, RecomputedPrefix
from sipit.prefix.packed import PackedPrefix, candidates_together, extend_together
from sipit.states.files import States
from tests.sipit.cases import ALL_FAMILIES, EACH_KIND, answers, inverted, language_model, random_prompts, tiny

# The cache.


def test_the_cache_is_where_it_is_asked_to_be(monkeypatch, tmp_path):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("SIPIT_CACHE")
    assert cache_folder().name == "sipit"


def test_what_is_kept_comes_back(empty_cache):
    assert kept_json("a/b.json") is None
    assert kept_tensors("a/b.safetensors") is None
    assert keep_json("a/b.json", {"noise": 1.5}) == {"noise": 1.5} == kept_json("a/b.json")
    keep_tensors("a/b.safetensors", {"x": torch.arange(3.0)})
    assert torch.equal(kept_tensors("a/b.safetensors")["x"], torch.arange(3.0))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10**5])
def test_what_cannot_be_read_counts_as_missing(empty_cache, content):
    empty_cache.mkdir()
    (empty_cache / "x").write_bytes(content)
    assert kept_json("x") is None
    assert kept_tensors("x") is None


def test_a_folder_is_filled_whole_or_not_at_all(empty_cache):
    def fail(folder):
        (folder / "part").write_text("half")
        raise OSError("disk full")

    def interrupt(folder):
        raise KeyboardInterrupt

    target = empty_cache / "models" / "m"
    assert not keep_folder(target, fail)
    with pytest.raises(KeyboardInterrupt):
        keep_folder(target, interrupt)
    assert not list((empty_cache / "models").iterdir())
    assert keep_folder(target, lambda folder: (folder / "part").write_text("whole"))
    assert [path.name for path in (empty_cache / "models").iterdir()] == ["m"]


def test_two_that_fill_a_folder_at_once_agree(empty_cache):
    target, barrier, kept = empty_cache / "m", threading.Barrier(2), []

    def write(folder):
        (folder / "part").write_text("whole")
        barrier.wait(timeout=20)

    threads = [threading.Thread(target=lambda: kept.append(keep_folder(target, write))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True, True]
    assert (target / "part").read_text() == "whole"
    assert [path.name for path in empty_cache.iterdir()] == ["m"]


@pytest.mark.parametrize("kind", ["a file in its place", "not writable", "missing"])
def test_without_a_cache_everything_works_and_nothing_is_left(monkeypatch, tmp_path, kind):
    folder = tmp_path / "cache"
    if kind == "a file in its place":
        folder.write_text("a file")
    elif kind == "not writable":
        if os.geteuid() == 0:
            monkeypatch.setattr("tempfile.mkstemp", refuse)
        folder.mkdir(mode=0o500)
    monkeypatch.setenv("SIPIT_CACHE", str(folder / "deeper" if kind == "a file in its place" else folder))
    model = sipit.load_model("tiny-gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    (inversion,) = sipit.invert(model, states)
    assert inversion.token_ids == [1, 2, 3]
    assert kind == "missing" or not list(tmp_path.rglob("*.safetensors"))


def refuse(*_arguments, **_named):
    raise PermissionError(13, "Permission denied")


def test_damaged_entries_are_made_again(empty_cache):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    expected = answers(inverted(model, states))
    for path in [path for path in empty_cache.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert answers(inverted(model, states)) == expected


@pytest.mark.parametrize("content", ['{"noise": "x", "positions": 3}', "{}", '{"noise": NaN, "positions": 1}'])
def test_a_kept_noise_that_is_no_number_is_measured_again(empty_cache, content):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    expected = derive_tolerance(model, states)
    (path,) = empty_cache.glob("*/noise/*")
    path.write_text(content)
    again = derive_tolerance(model, states)
    assert again.value == pytest.approx(expected.value, rel=0.5)  # measured anew, in another order of summation
    assert again.derived_from.split(" over ")[1] == expected.derived_from.split(" over ")[1]


# The tolerance.


@pytest.mark.parametrize("layer", [0, 1, 2, "final"])
def test_the_tolerance_is_a_multiple_of_the_measured_noise(layer, empty_cache, monkeypatch):
    model = tiny("llama")
    states = sipit.capture(model, [[1, 2]], layer=layer)
    noise = measure_noise(model, Observation.of(None, layer), computed=torch.float32, stored=torch.float32)
    # Two measurements need not agree in the last bits: threads and addresses change the order of summation.
    monkeypatch.setattr("sipit.noise.tolerance.measure_noise", lambda *_arguments, **_named: noise)
    tolerance = derive_tolerance(model, states)
    assert tolerance.value == max(SAFETY * noise.largest, torch.finfo(torch.float32).eps)
    assert tolerance.kind == "measured"
    assert f"{noise.largest:.2e}" in tolerance.derived_from
    assert str(noise.positions) in tolerance.derived_from
    assert f"layer {layer}" in tolerance.derived_from


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "mixtral"])
def test_prompts_that_were_not_measured_stay_below_it(family):
    model = tiny(family)
    prompts = random_prompts(4, longest=40, seed=71)
    reference = sipit.capture(model, prompts, layer=2)
    tolerance = derive_tolerance(model, reference).value
    for how in ({"cached": True}, {"batch": 4}, {"batch": 4, "padding": "left"}):
        for a, b in zip(sipit.capture(model, prompts, layer=2, **how), reference, strict=True):
            assert float(((a - b).norm(dim=1) / b.norm(dim=1)).max()) <= tolerance


def test_the_noise_is_that_of_a_model_a_layer_and_formats(empty_cache):
    model = tiny("gpt2")
    for layer in (1, 2):
        for dtype in (torch.float32, torch.bfloat16):
            derive_tolerance(model, States((torch.full((1, 64), 1 / 3, dtype=dtype),), layer))
    derive_tolerance(tiny("llama"), States((torch.full((1, 64), 1 / 3),), 1))
    assert len(list(empty_cache.glob("*/noise/*"))) == 5


@pytest.mark.parametrize("value", [0.0, -1e-6, 1.0, 2.0, float("nan"), float("inf")])
def test_a_tolerance_out_of_range_is_refused(value):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        Tolerance.given(value)


# Candidates behind a prefix.


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
