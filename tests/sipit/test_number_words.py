"""Numbers on a command line and in a manifest are numbers: nothing that Python's `int` would also make one of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import sipit
from proofs.arguments import whole_in
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.cli.options import parse_layer, parse_layers, parse_named_layers, parse_positions
from sipit.prompts.corpora import read_corpus
from tests.sipit.cases import tiny

NO_NUMBERS = ("1_0", "١", "²", "+1", "1.0", "true", "0x1", "9" * 5000, "1 0", "--1", "1e1")


@given(st.integers(-(10**17), 10**17))
def test_a_number_is_read_as_it_is_written(number):
    assert whole_in(str(number), signed=True) == number


@given(st.integers(-(10**17), 10**17))
def test_a_sign_is_read_where_it_may_stand(number):
    assert whole_in(str(number)) == (number if number >= 0 else None)


@given(st.text() | st.sampled_from(NO_NUMBERS))
def test_a_text_is_a_number_or_none(text):
    number = whole_in(text, signed=True)
    assert number is None or str(number).removeprefix("-") == text.removeprefix("-").lstrip("0") or number == 0


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_layers_and_positions_that_are_no_numbers_are_refused(text):
    for read in (parse_layer, parse_layers, parse_named_layers, parse_positions):
        for given_ in (text, f"0,{text}", f"{text},0"):
            with pytest.raises(InvalidInput, match="Expected"):
                read(given_)
    with pytest.raises(InvalidInput, match="random:LENGTH"):
        read_corpus(tiny("llama"), f"random:{text}", limit=3)


WORDS = [
    ["invert", "tiny-llama", "--text", "a", "--layer", "{}"],
    ["check", "tiny-llama", "--layer", "{}"],
    ["certify", "tiny-llama", "--prompts", "prompts.txt", "--layer", "{}"],
    ["certify", "tiny-llama", "--prompts", "prompts.txt", "--bits", "{}"],
    ["certify", "tiny-llama", "--prompts", "prompts.txt", "--vocabulary", "{}"],
    ["compare", "tiny-llama", "tiny-llama@batch={}", "--prompts", "prompts.txt"],
    ["compare", "tiny-llama", "tiny-llama@threads={}", "--prompts", "prompts.txt"],
]


@pytest.mark.parametrize("text", ["1_0", "٢", "9" * 5000], ids=["underscore", "arabic", "long"])
@pytest.mark.parametrize("words", WORDS, ids=lambda words: f"{words[0]} {words[-2]}")
def test_options_that_are_no_numbers_are_refused(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a\nb\n")
    assert run([word.format(text) for word in words]) == 2
    assert "Expected" in capsys.readouterr().err


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("layer", [True, 1.0, "1", "1.0"])
def test_a_layer_in_a_manifest_is_a_whole_number(tmp_path, layer, observed):
    path = tmp_path / "states.safetensors"
    states = sipit.capture(tiny("llama"), [[5, 6, 7]], layer=1)
    sipit.write_states(path, states)
    tensors = load_file(path)

    def stored(**fields):
        manifest = json.loads(json.dumps(_manifest(path))) | fields
        if not observed:
            manifest["observation"] = None
        other = tmp_path / "other.safetensors"
        save_file(tensors, other, metadata={"sipit": json.dumps(manifest)})
        return other

    assert sipit.read_states(stored()).layer == 1
    with pytest.raises(InvalidInput, match="manifest"):
        sipit.read_states(stored(layer=layer))


@pytest.mark.parametrize("top", [True, 4.0, "4"])
def test_how_many_are_kept_is_a_whole_number_in_a_manifest(tmp_path, top):
    path = tmp_path / "states.safetensors"
    sipit.write_states(path, sipit.capture(tiny("llama"), [[5, 6, 7]], observe="logprobs", top=4))
    manifest = _manifest(path)
    manifest["observation"]["top"] = top
    save_file(load_file(path), path, metadata={"sipit": json.dumps(manifest)})
    with pytest.raises(InvalidInput, match="manifest"):
        sipit.read_states(path)


def _manifest(path):
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["sipit"])
