"""What a body understands is tried: whatever it ignores, renames or leaves undone, states are right or refused."""

import json
from dataclasses import replace
from importlib import metadata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import SipitError, Unsupported
from sipit import cache as storage
from sipit.cache import keep_json, kept_json, measured_with
from sipit.inversion.outcome import Outcome
from sipit.models.loading import load_model
from sipit.noise.measured import measure_noise
from sipit.noise.tolerance import derive_tolerance
from sipit.observations.observation import Observation
from tests.field.places import model_folder
from tests.sipit.cases import (
    ALL_FAMILIES,
    EACH_KIND,
    altered,
    assert_recovers,
    language_model,
    random_prompts,
    rest_slow,
    tiny,
)
from tests.sipit.faulty_bodies import (
    FAULTS,
    RUN,
    forgets_beyond_twelve,
    ignores_everything,
    renames_its_memory,
    wrap_body,
    wrapped_model,
)

RENAMED = "what_came_before"
PROMPTS = random_prompts(3, shortest=2, longest=20, seed=15)
WAYS = ({"cached": True}, {"batch": 3}, {"batch": 3, "padding": "left"})


def assert_right_or_refused(model, reference):
    """Every way of capturing gives the plain states up to rounding, or is refused in one sentence."""
    for way in WAYS:
        try:
            states = sipit.capture(model, PROMPTS, layer=1, **way)
        except SipitError as error:
            assert "cached" in way, error
            assert "transformers" in str(error), error
            continue
        for mine, plain in zip(states, reference, strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-4)


@settings(max_examples=12)
@given(
    st.sampled_from(ALL_FAMILIES),
    st.lists(st.sampled_from(sorted(FAULTS)), max_size=2, unique=True).filter(
        lambda names: "refuses_what_it_does_not_know" not in names[:1] or len(names) == 1
    ),
)
def test_whatever_a_body_leaves_undone_states_are_right_or_refused(family, names):
    model = wrapped_model(family, *(FAULTS[name] for name in names))
    assert_right_or_refused(model, sipit.capture(tiny(family), PROMPTS, layer=1))


@pytest.mark.parametrize("name", rest_slow(*RUN[::2], of=RUN))
@pytest.mark.parametrize("family", [pytest.param("gpt2", marks=pytest.mark.slow), "llama"])
def test_its_prompts_come_back_under_a_tolerance_of_rounding(family, name):
    model = wrapped_model(family, FAULTS[name])
    states = sipit.capture(model, PROMPTS[:2], layer=1)
    assert derive_tolerance(model, states).value < 1e-4
    assert_recovers(model, states, PROMPTS[:2])


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "bloom"])
def test_a_renamed_memory_is_found(family):
    model = wrapped_model(family, renames_its_memory)
    assert model.abilities.memory is not None
    assert model.abilities.memory[1] == RENAMED


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_what_the_families_of_this_release_understand(family):
    known = tiny(family).abilities
    assert known.memory is not None
    assert known.mask is not None
    assert set(known.padding) == {"left", "right"}
    assert (known.positions is None) == (family in {"bloom", "mamba"})
    assert known.packing == (known.positions is not None)


def test_what_is_not_understood_is_not_passed_on():
    known = wrapped_model("llama", ignores_everything).abilities
    assert (known.positions, known.mask, known.memory, known.packing) == (None, None, None, False)
    assert set(known.refused) >= {"positions", "mask", "memory", "packing", "padding on the left"}
    ones = torch.ones(1, 4, dtype=torch.long)
    for given_ in ({"positions": ones}, {"mask": ones}, {"memory": object()}):
        with pytest.raises(Unsupported, match="LlamaModel"):
            known.arguments(**given_)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["ignores_its_memory", "ignores attention_mask", "ignores_everything"])
def test_a_body_that_hardly_looks_back_does_not_hide_what_it_ignores(dtype, name):
    def quiet(module):
        for block in module.model.layers:
            block.self_attn.o_proj.weight.mul_(0.02)

    calm = altered("llama", quiet, dtype=dtype).abilities
    assert calm.memory is not None
    assert "left" in calm.padding
    known = altered("llama", lambda module: (quiet(module), wrap_body(module, FAULTS[name])), dtype=dtype).abilities
    assert (known.memory is None) == (name != "ignores attention_mask")
    assert ("left" in known.padding) == (name == "ignores_its_memory")
    assert known.packing == (name == "ignores_its_memory")


def test_positions_that_count_from_elsewhere_are_counted_from_there():
    """RoBERTa's begin behind its padding token; counted from 0 they are those of another prompt."""
    from transformers import RobertaConfig, RobertaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = RobertaConfig(**sizes, intermediate_size=128, max_position_embeddings=64, is_decoder=True, pad_token_id=1)
    model = language_model(RobertaForCausalLM(config).eval().requires_grad_(False), name="roberta")
    reference = sipit.capture(model, PROMPTS, layer=1)
    assert_right_or_refused(model, reference)
    assert_recovers(model, reference, PROMPTS)


# Noise is rounding, or it is not noise.


def test_a_way_of_capturing_that_does_more_than_round_is_left_out_and_named():
    model = wrapped_model("llama", forgets_beyond_twelve)
    assert model.abilities.memory is not None, "it works on a short prompt"
    noise = measure_noise(model, Observation.of(None, 2), computed=torch.float32, stored=torch.float32)
    assert noise.largest < 1e-5
    (sentence,) = noise.left_out
    assert "cache" in sentence
    assert "times what rounding explains" in sentence
    assert "transformers" in sentence


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_so_it_is_in_half_types(dtype):
    model = wrapped_model("llama", forgets_beyond_twelve)
    kind = getattr(torch, dtype)
    assert len(measure_noise(model, Observation.of(None, 2), computed=kind, stored=kind).left_out) == 1


@pytest.mark.parametrize("family", EACH_KIND)
@pytest.mark.parametrize("dtype", rest_slow(torch.float32, of=[torch.float32, torch.bfloat16]))
def test_nothing_is_left_out_where_the_library_only_rounds(family, dtype):
    assert measure_noise(tiny(family), Observation.of(None, 1), computed=dtype, stored=dtype).left_out == ()


def test_states_that_change_from_run_to_run_are_refused():
    def trembling(forward):
        def wrapped(input_ids=None, **arguments):
            if input_ids.shape[1] > 12:
                arguments |= {"position_ids": torch.randint(64, input_ids.shape)}
            return forward(input_ids=input_ids, **arguments)

        return wrapped

    torch.manual_seed(0)
    model = wrapped_model("gpt2", trembling)
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    with pytest.raises(SipitError, match=r"differ from one forward|draws random numbers|nothing to do with each other"):
        sipit.invert(model, states)


def test_a_derived_tolerance_at_which_unrelated_states_fit_is_refused(monkeypatch, empty_cache):
    from proofs.errors import InvalidInput
    from sipit.noise import tolerance

    model = tiny("llama")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    honest = tolerance.measure_noise(model, Observation.of(None, 1), computed=torch.float32, stored=torch.float32)
    monkeypatch.setattr(tolerance, "measure_noise", lambda *_a, **_n: replace(honest, largest=0.9999))
    with pytest.raises(InvalidInput, match="nothing to do with each other fit"):
        sipit.invert(model, states)
    assert sipit.invert(model, states, tolerance=1e-4)[0].outcome is Outcome.RECOVERED


# What is kept knows what it was measured with.


def test_what_was_measured_on_texts_is_another_thing_with_another_tokenizer(tmp_path):
    """Two folders of the same weights, of which one gives two words each other's ids."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        model_folder(folder)
    path = folders[1] / "tokenizer.json"
    content = json.loads(path.read_text())
    words = content["model"]["vocab"]
    first, second = list(words)[-2:]
    words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(content))
    one, two = (load_model(str(folder)) for folder in folders)
    assert (one.digest == two.digest, one.key == two.key) == (True, False)
    assert one.key == load_model(str(folders[0])).key


@pytest.mark.parametrize(
    "changed",
    rest_slow("transformers", "device", "code", of=["torch", "transformers", "python", "processor", "device", "code"]),
)
def test_what_was_kept_with_something_else_is_not_found(empty_cache, monkeypatch, changed):
    """Everything that a round trip keeps is spoiled, and then the installation changes: nothing of it is read."""
    model = tiny("gpt2")
    states = sipit.capture(model, PROMPTS[:1], layer=1)
    expected = derive_tolerance(model, states)
    assert_recovers(model, states, PROMPTS[:1])
    old = {path for path in empty_cache.rglob("*") if path.is_file()}
    assert {path.parent.name for path in old} == {"noise", "probes"}
    for path in empty_cache.rglob("noise/*"):
        key = str(path.relative_to(empty_cache))
        keep_json(key, kept_json(key) | {"largest": 0.9})
    before = measured_with()
    if changed == "processor":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another one")
    elif changed == "python":
        monkeypatch.setattr(storage.platform, "python_version", lambda: "3.99.0")
    elif changed == "code":
        monkeypatch.setattr(storage, "_code", lambda: "another one")
    elif changed == "device":
        monkeypatch.setattr(storage, "_place", lambda _device: "another one")
    else:
        genuine = metadata.version
        monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == changed else genuine(name))
    storage.libraries.cache_clear()
    try:
        assert measured_with() != before
        assert derive_tolerance(model, states).value == expected.value
        assert_recovers(model, states, PROMPTS[:1])
    finally:
        monkeypatch.undo()
        storage.libraries.cache_clear()


@pytest.mark.parametrize("changed", ["numerics/graphs/a.py", "proofs/b.py", "sipit/c.py"])
def test_every_module_of_the_toolkit_is_told_from_another(tmp_path, monkeypatch, changed):
    for name in ("numerics/graphs/a.py", "proofs/b.py", "sipit/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(storage, "__file__", str(tmp_path / "sipit" / "cache.py"))
    code = storage._code.__wrapped__
    before = code()
    assert code() == before
    (tmp_path / changed).write_text("two")
    assert code() != before
