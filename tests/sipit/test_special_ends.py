"""Where a tokenizer puts its special tokens, whatever letters it knows, and what takes text beside them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

import sipit
from proofs.errors import InvalidInput
from sipit.claims.check import _bos
from sipit.cli import run
from sipit.cli.options import parse_tokens
from sipit.installation.round_trip import _prompts
from sipit.models.tokenizers import special_ends_of, token_ids_of
from sipit.prompts.corpora import read_corpus
from sipit.prompts.reading import special_ends
from tests.sipit.cases import tiny

SPECIAL = ("<s>", "</s>")


def tokenizer_of(letters, front, behind):
    """A tokenizer that knows these letters and nothing else, with special tokens around a text."""
    ids = {letter: n for n, letter in enumerate([*letters, *SPECIAL])}
    made = Tokenizer(models.BPE(vocab=ids, merges=[]))
    made.add_special_tokens([*SPECIAL])
    single = " ".join([*(SPECIAL[n] for n in front), "$A", *(SPECIAL[n] for n in behind)])
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[(s, ids[s]) for s in SPECIAL])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=SPECIAL[0], eos_token=SPECIAL[1])
    return wrapped, *(tuple(ids[SPECIAL[n]] for n in end) for end in (front, behind))


def dna(front=(0,), behind=()):
    return replace(tiny("llama"), tokenizer=tokenizer_of("ACGTN", front, behind)[0])


ENDS = st.lists(st.sampled_from([0, 1]), max_size=2)


@given(letters=st.sets(st.sampled_from("aACGTNé7 ·"), min_size=1).map(sorted), front=ENDS, behind=ENDS)
def test_special_tokens_stand_where_the_template_says_whatever_letters_are_known(letters, front, behind):
    tokenizer, first, last = tokenizer_of(letters, front, behind)
    assert special_ends_of(tokenizer) == (first, last)
    assert _bos(tokenizer) == {"token_id": tokenizer.bos_token_id, "added": front[:1] == [0]}


def test_what_no_text_shows_is_refused_and_not_told():
    model = replace(tiny("llama"), tokenizer=tokenizer_of("", [0], [])[0])
    with pytest.raises(InvalidInput, match="shows its special tokens"):
        special_ends(model)
    assert _bos(model.tokenizer)["added"] is None
    assert parse_tokens(model, "[1,2]", "--prefix", special_tokens=True) == (1, 2)


@settings(max_examples=10)
@given(text=st.text("ACGT", min_size=1, max_size=5), front=ENDS, behind=ENDS)
def test_a_prefix_and_a_suffix_are_the_ends_of_what_is_tokenised(text, front, behind):
    model = dna(front, behind)
    for special in (True, False):
        whole = token_ids_of(model.tokenizer, text + "N", special_tokens=special)
        prefix = parse_tokens(model, text, "--prefix", special_tokens=special)
        suffix = parse_tokens(model, text[1:] + "N", "--suffix", special_tokens=special, end="behind")
        assert prefix == tuple(whole[: len(prefix)]) and len(prefix) == len(text) + special * len(front)
        assert suffix == tuple(whole[-len(suffix) :]) and len(suffix) == len(text) + special * len(behind)


def test_a_corpus_has_the_front_before_every_window(tmp_path):
    (tmp_path / "a.txt").write_text("xACaGT")
    for special, front in ((True, [5]), (False, [])):
        corpus = read_corpus(dna(), str(tmp_path), window=2 + special, special_tokens=special)
        assert [list(one) for one in corpus.prompts.windows] == [[*front, 0, 1], [*front, 2, 3]]


def test_a_round_trip_has_prompts_where_the_tokenizer_makes_nothing_of_its_texts():
    assert all(_prompts(dna(()), seed=0)) and _prompts(tiny("llama"), seed=0)[1] == [256, *b"Hello"]


@pytest.mark.parametrize(("options", "front"), [((), [256]), (("--no-special-tokens",), [])])
def test_the_prefix_of_the_command_has_special_tokens_unless_they_are_left_away(tmp_path, capsys, options, front):
    ids = [*front, *b"hello"]
    rows = sipit.capture(tiny("llama"), [ids], layer=1)[0][len(front) + 3 :]
    save_file({"rows": rows.contiguous()}, tmp_path / "rows.safetensors")
    line = ["invert", "tiny-llama", "--states", str(tmp_path / "rows.safetensors"), "--layer", "1", "--json", *options]
    assert run([*line, "--prefix", "hel"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["result"]["partial"]
    assert found["token_ids"] == ids
