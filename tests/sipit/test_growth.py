"""A tokenizer that would write without end is not run (`sipit.models.growth`)."""

import base64
import json
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sipit.models.growth import MOST, growth
from sipit.models.smollm2 import smollm2_folder
from sipit.models.tiny import tiny_tokenizer
from sipit.models.tokenizers import find_tokenizer, text_of
from tests.field.places import assert_refused, called, model_folder
from tests.sipit.cases import rest_slow

WORDS = st.text("ab ", max_size=4)
STEPS = st.one_of(
    st.builds(lambda old, new: {"type": "Replace", "pattern": {"String": old}, "content": new}, WORDS, WORDS),
    st.builds(
        lambda old, new: {"type": "Replace", "pattern": {"Regex": old}, "content": new},
        st.sampled_from(["a", "a*", " {2,}", "b|a", "."]), WORDS,
    ),
    st.builds(lambda new: {"type": "Prepend", "prepend": new}, st.text("ab ", min_size=1, max_size=3)),
    st.just({"type": "Lowercase"}),
)  # fmt: skip
NORMALIZERS = st.recursive(
    STEPS, lambda inner: st.builds(lambda some: {"type": "Sequence", "normalizers": some}, st.lists(inner, max_size=4)),
    max_leaves=6,
)  # fmt: skip
EMPTY = json.loads(Tokenizer(WordLevel({"a": 0}, unk_token="a")).to_str())


def file_with(normalizer):
    return json.dumps(EMPTY | {"normalizer": normalizer})


@given(NORMALIZERS, st.text("ab ", min_size=1, max_size=12))
def test_no_text_becomes_longer_than_it_says(normalizer, text):
    content = file_with(normalizer)
    made = Tokenizer.from_str(content).normalizer.normalize_str(text)
    assert len(made) <= growth(content.encode()) * len(text)


def test_a_table_writes_as_much_as_its_longest_entry():
    table = base64.b64encode(b"\x04\0\0\0" + b"abcd" + b"x\0" + b"y" * 40 + b"\0").decode()
    assert growth(file_with({"type": "Precompiled", "precompiled_charsmap": table}).encode()) == 40


PIECES = st.lists(st.sampled_from(["A", "X", "Y"]), max_size=6)


def template(pieces, ids):
    """A template of texts (A) and of special tokens, which stand for so many ids each; a pair as the library has it."""
    kinds = {"A": "Sequence", "B": "Sequence"}
    single, pair = (
        [{kinds.get(piece, "SpecialToken"): {"id": piece, "type_id": 0}} for piece in some]
        for some in (pieces, ["A", "B"])
    )
    special = {name: {"id": name, "ids": [1] * count, "tokens": ["b"] * count} for name, count in ids.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


@given(PIECES, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_no_template_writes_more_than_it_says(pieces, of_x, of_y, length, inside):
    step = template(pieces, {"X": of_x, "Y": of_y})
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content = json.dumps(EMPTY | {
        "post_processor": {"type": "Sequence", "processors": [level, step]} if inside else step,
        "pre_tokenizer": {"type": "Whitespace"},
    })  # fmt: skip
    made = Tokenizer.from_str(content).encode(" ".join("a" * length))
    assert len(made.ids) <= growth(content) * length


@pytest.mark.parametrize("pieces", [["X"] * 70 + ["A"], ["A"] * 5000])
def test_a_template_that_writes_without_end_is_not_run(tmp_path, pieces):
    folder = tmp_path / "model"
    model_folder(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] = template(pieces, {"X": 70})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer, why = find_tokenizer(str(folder))
    assert tokenizer is None and f"{MOST} times" in why


def test_escapes_and_second_names_hide_no_step():
    doubling = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    content = file_with({"type": "Sequence", "normalizers": [doubling] * 20})
    assert growth(content) == growth(content.replace("Replace", "Repl\\u0061ce")) == 2**20
    assert growth(content[:-1] + ', "normalizer": null}') > MOST


def test_other_files_that_the_library_would_load_are_not(tmp_path):
    """By a version in their names: what is priced is what is run."""
    folder = tmp_path / "model"
    tiny_tokenizer("llama").save_pretrained(folder)
    doubling = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    content = json.loads((folder / "tokenizer.json").read_text())
    steps = {"type": "Sequence", "normalizers": [doubling] * 20}
    (folder / "tokenizer.4.0.0.json").write_text(json.dumps(content | {"normalizer": steps}))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]})
    )
    tokenizer, why = find_tokenizer(str(folder))
    assert tokenizer is None and "names other files (fast_tokenizer_files)" in why


@pytest.mark.parametrize("beside", [False, True])
def test_a_tokenizer_that_the_library_makes_of_other_files_is_priced_too(tmp_path, monkeypatch, beside):
    doubling = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    content = file_with({"type": "Sequence", "normalizers": [doubling] * 20})
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(content))
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *given, **more: made)
    if beside:  # one that is harmless, and was not loaded
        (tmp_path / "tokenizer.json").write_text(file_with(None))
    tokenizer, why = find_tokenizer(str(tmp_path))
    assert tokenizer is None and f"{MOST} times" in why


@pytest.mark.parametrize("part", rest_slow("normalizer", of=["normalizer", "decoder"]))
def test_a_chain_that_doubles_is_not_run(tmp_path, part):
    doubling = [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40
    folder = tmp_path / "model"
    model_folder(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    kind = {"normalizer": "normalizers", "decoder": "decoders"}[part]
    content[part] = {"type": "Sequence", kind: doubling}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer, why = find_tokenizer(str(folder))
    assert tokenizer is None and f"{MOST} times" in why
    assert_refused(called("invert", folder, "--text", "aa", "--layer", 1), "tokenizer.json", "give token_ids")


def test_a_pattern_that_gives_up_is_told(tmp_path):
    """It panics in another language, which no `except Exception` sees."""
    folder = tmp_path / "model"
    model_folder(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": "(a|a|aa)+$"}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    said = called("capture", folder, "--text", f"Hello {'a' * 32}! W", "--layer", 1, "-o", tmp_path / "s.safetensors")
    assert_refused(said, "gives up on one of 41 characters", "give token_ids")


class Panic(BaseException):
    """As what another language raises: no Exception."""


@pytest.mark.parametrize(("raised", "passes"), [(Panic, False), (OverflowError, False), (KeyboardInterrupt, True)])
def test_ids_stay_known_where_their_text_is_not(raised, passes):
    class GivesUp:
        def __len__(self):
            return 64

        def decode(self, token_ids):
            raise raised("no text")

    with pytest.raises(KeyboardInterrupt) if passes else nullcontext():
        assert text_of(GivesUp(), [1, 2]) is None


def test_tokenizers_in_use_are_far_below_the_limit():
    content = (smollm2_folder() / "tokenizer.json").read_bytes()
    assert growth(content) <= 4
    llama = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]}  # fmt: skip
    assert growth(file_with(llama).encode()) == 2
