"""Numbers on a command line and in a manifest are numbers: nothing that Python's `int` would also make one of."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import sipit
from proofs.arguments import exact_in, real_in, whole_in
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.cli.options import parse_layer, parse_layers, parse_named_layers, parse_positions, parse_tolerance
from sipit.prompts.corpora import read_corpus
from tests.sipit.cases import tiny

NO_NUMBERS = ("1_0", "١", "²", "+1", "1.0", "true", "0x1", "9" * 5000, "1 0", "--1", "1e1")


@given(st.integers(-(10**17), 10**17))
def test_a_number_is_read_as_it_is_written(number):
    assert whole_in(str(number), signed=True) == number


@given(st.integers(-(10**17), 10**17))
def test_a_sign_is_read_where_it_may_stand(number):
    assert whole_in(str(number)) == (number if number >= 0 else None)


UNPLAIN = ("1_0", "1e1_0", "1_0/3", "1e9_9_9_9", "1e9999", "\u0661", " 1", "1\n", "1 / 3", "1/0", "nan", "inf", "",
           "9" * 5000)  # fmt: skip


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**9), st.integers(-999, 999))
def test_an_exact_number_is_read_as_it_is_written(number, exponent):
    assert exact_in(str(number)) == number
    assert exact_in(f"{number.numerator}.25e{exponent}") == Fraction(f"{number.numerator}.25e{exponent}")


@pytest.mark.parametrize("text", UNPLAIN)
def test_what_is_no_plain_number_is_none(text):
    """Underscores in an exponent passed for few digits, and the power of ten was worked out."""
    assert exact_in(text) is None and real_in(text) is None
    with pytest.raises(InvalidInput, match="--tolerance"):
        parse_tolerance(text)


def test_a_float_is_none_beyond_every_float():
    assert (real_in("1e-999"), real_in("-.5E1"), real_in("1e999")) == (0.0, -5.0, None)


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
    ["certify", "tiny-llama", "--prompts", "prompts.txt", "--states", "states.safetensors", "--noise", "{}"],
    ["leak", "tiny-llama", "--strengths", "{}"],
    ["prove", "training-step", "--rate", "{}"],
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


@pytest.mark.parametrize("text", ["1_0", " 10", "10\n", "٢"], ids=["underscore", "blank", "line", "arabic"])
@pytest.mark.parametrize("option", ["--seed", "--budget"])
def test_what_typer_would_read_as_a_number_is_refused(capsys, option, text):
    assert run(["invert", "tiny-llama", "--text", "a", option, text]) == 2
    assert option in capsys.readouterr().err


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
