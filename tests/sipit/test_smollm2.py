"""The embedded model: a real trained network, from its file in the wheel to the exact text of its states."""

import shutil
from functools import cache

import pytest
import torch

import sipit
from sipit.cache import cache_folder
from sipit.inversion.inverter import Inverter, matches_truth
from sipit.inversion.outcome import Outcome
from sipit.models.smollm2 import converted_digest, gguf_file, read_smollm2, smollm2_folder
from sipit.prompts.builtin_text import random_tokens, section_prompts
from tests.sipit.cases import assert_never_wrong


@cache
def smollm2():
    return sipit.load_model("smollm2")


TEXT = "The quick brown fox jumps over the lazy dog."


def test_it_is_a_llama_of_thirty_blocks():
    model = smollm2()
    assert (model.layers, model.width, model.vocabulary_size, model.context) == (30, 576, 49152, 8192)
    assert type(model.module).__name__ == "LlamaForCausalLM"
    assert all(parameter.dtype is torch.float32 for parameter in model.module.parameters())


def test_digits_are_single_tokens_and_text_comes_back():
    tokenizer = smollm2().tokenizer
    ids = tokenizer("In 1984, 365 days").input_ids
    pieces = [tokenizer.decode([token]) for token in ids]
    assert [piece for piece in pieces if any(character.isdigit() for character in piece)] == list("1984365")
    for text in (TEXT, "x == 3.14159  # π\n\tdef f(): …", "漢字 and emoji 🙂", "<|im_start|>user\nhi<|im_end|>"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_rows_that_are_equal_in_the_file_are_known_up_front():
    model = smollm2()
    classes = model.token_classes
    rows = model.decoder.tables[0].weight
    doubled = torch.nonzero(classes != torch.arange(len(classes))).flatten()
    assert len(doubled) > 0
    for token in doubled[:20].tolist():
        assert torch.equal(rows[token], rows[classes[token]])
        assert model.members(token)[0] == int(classes[token])
    assert len(torch.unique(rows, dim=0)) == int((classes == torch.arange(len(classes))).sum())


@pytest.mark.slow  # half a minute: every row of the vocabulary is a rival
def test_tokens_with_equal_rows_are_answered_by_their_class():
    """Their states are equal to the last bit behind any prefix, so no method can tell them apart."""
    model = smollm2()
    member = int(torch.nonzero(model.token_classes != torch.arange(model.vocabulary_size))[0])
    members = model.members(member)
    ids = [504, members[-1], 2365]
    states = sipit.capture(model, [ids, [504, members[0], 2365]], layer=1)
    assert torch.equal(states[0], states[1])
    inverter = Inverter.open(model, states, policy="nearest")
    inversion = inverter.invert(states[0])
    assert inversion.outcome is Outcome.AMBIGUOUS
    assert inversion.token_ids == [504, members[0], 2365]
    assert matches_truth(model, inversion, ids)
    assert inversion.alternatives[0].token_ids == members[:32]


@pytest.mark.slow  # as the one above it, with a probe's part of the vocabulary
def test_text_comes_back_from_the_first_block():
    """By the nearest rows of the embedding alone, without a probe."""
    model = smollm2()
    states = sipit.capture(model, ["Hello, world."], layer=1, cached=True)
    (inversion,) = sipit.invert(model, states, policy="nearest")
    assert (inversion.outcome, inversion.text) == (Outcome.RECOVERED, "Hello, world.")


@pytest.mark.slow  # a probe is trained; continuous integration does this once
def test_text_comes_back_from_the_middle():
    """The default policy, states captured token by token and, in a batch, behind padding."""
    model = smollm2()
    cached = sipit.capture(model, [TEXT], layer=15, cached=True)
    inverter = Inverter.open(model, cached)
    (inversion,) = inverter.invert_all(cached)
    assert (inversion.outcome, inversion.text) == (Outcome.RECOVERED, TEXT)
    assert inversion.forward_passes <= 5
    batch = sipit.capture(model, [TEXT, "Short: 42."], layer=15, batch=2, padding="left")
    assert [inversion.text for inversion in inverter.invert_all(batch)] == [TEXT, "Short: 42."]
    # Eight tokens at random, none of which a language model would expect.
    generator = torch.Generator().manual_seed(0)
    (ids,) = random_tokens(model, (1, 8), generator=generator).tolist()
    (inversion,) = inverter.invert_all(sipit.capture(model, [ids], layer=15), truth=[ids])
    assert_never_wrong(model, inversion, ids)
    assert inversion.matches_truth is True


@pytest.mark.slow
def test_its_weights_are_those_that_the_library_reads():
    from transformers import AutoModelForCausalLM

    path = gguf_file()
    theirs = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    ours = dict(smollm2().module.named_parameters())
    named = dict(theirs.named_parameters())
    assert named.keys() == ours.keys()
    for name, parameter in named.items():
        assert torch.equal(parameter, ours[name]), name
    ids = torch.tensor([[1, 504, 2365, 6354]])
    with torch.inference_mode():
        assert torch.equal(theirs(ids).logits, smollm2().module(ids).logits)


@pytest.mark.slow
def test_a_read_only_cache_gives_the_same_model(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("SIPIT_CACHE", str(blocked))
    assert smollm2_folder() is None
    module, tokenizer = read_smollm2(gguf_file())
    model = sipit.load_model("smollm2")
    kept = smollm2()
    for (name, a), b in zip(kept.module.named_parameters(), model.module.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert model.digest == kept.digest
    assert tokenizer(TEXT).input_ids == kept.tokenizer(TEXT).input_ids == model.tokenizer(TEXT).input_ids
    assert module.config.vocab_size == 49152


def cut(content):
    return content[: len(content) // 2]


def one_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", one_bit),
        ("config.json", lambda content: content.replace(b'"rms_norm_eps"', b'"another_eps"')),
        ("tokenizer.json", cut),
        ("tokenizer.json", lambda content: content.replace(b"the", b"eht")),
        ("tokenizer_config.json", None),
        ("sealed.json", None),
        ("sealed.json", one_bit),
    ],
)
def test_a_damaged_copy_in_the_cache_only_costs_time(tmp_path, monkeypatch, name, damage):
    folder = smollm2_folder()
    copy = tmp_path / folder.relative_to(cache_folder())
    shutil.copytree(folder, copy)
    before = (copy / name).read_bytes()
    assert damage is None or damage(before) != before
    (copy / name).unlink()  # it may be a link to the file of the cache
    if damage is not None:
        (copy / name).write_bytes(damage(before))
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    ids = smollm2().tokenizer(TEXT).input_ids
    for _ in range(2):
        model = sipit.load_model("smollm2")
        assert model.digest == smollm2().digest and model.tokenizer(TEXT).input_ids == ids
    assert converted_digest(copy) == model.digest  # and it is there again


# What must be reached, with 64-token prompts.


@cache
def natural():
    return section_prompts(smollm2(), count=20, length=64)


@cache
def drawn():
    return random_tokens(smollm2(), (6, 64), generator=torch.Generator().manual_seed(7)).tolist()


CAPTURES = {"one forward": {}, "cache": {"cached": True}, "padded batch": {"batch": 8, "padding": "left"}}


@pytest.mark.slow
@pytest.mark.parametrize("how", sorted(CAPTURES))
@pytest.mark.parametrize("layer", [1, 15])
def test_natural_text_is_exact_in_few_passes(layer, how):
    model = smollm2()
    prompts = natural()
    if how == "padded batch":  # unequal lengths, so that there is padding
        prompts = [ids[: 64 - number % 8] for number, ids in enumerate(prompts)]
    states = sipit.capture(model, prompts, layer=layer, **CAPTURES[how])
    found = Inverter.open(model, states).invert_all(states, truth=prompts)
    assert len(found) == 20
    for inversion, prompt in zip(found, prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
    assert [inversion.matches_truth for inversion in found] == [True] * 20
    assert {inversion.outcome for inversion in found} <= {Outcome.RECOVERED, Outcome.AMBIGUOUS}
    # The probe is fitted to few tokens; what its draft gets wrong, the runs correct.
    assert sorted(inversion.forward_passes for inversion in found)[10] <= 7
    assert sum(inversion.token_positions for inversion in found) <= 12 * sum(map(len, prompts))


@pytest.mark.slow
@pytest.mark.parametrize("layer", [1, 7, 15])
def test_random_tokens_are_exact_or_ambiguous_by_class(layer):
    model, prompts = smollm2(), drawn()
    states = sipit.capture(model, prompts, layer=layer, cached=True)
    for inversion, prompt in zip(Inverter.open(model, states).invert_all(states, truth=prompts), prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        assert inversion.matches_truth is True
        reasons = {alternative.reason for alternative in inversion.alternatives}
        assert reasons <= {"identical embedding rows"}
