"""Ids, rows and tokenizers; lengths beyond what a model was made for."""

import json

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.inversion import search
from sipit.inversion.policies import draft
from sipit.prompts.reading import read_prompts, special_ends
from sipit.states.files import States
from tests.field.models import COMMON, drawn_ids, llama, plain
from tests.sipit.folders import drawn, save


def rows_in(path, *arrays):
    save_file({f"{number:03d}": array.contiguous() for number, array in enumerate(arrays)}, path)
    return str(path)


def record_of(capsys, *arguments, status=0):
    assert run([*map(str, arguments), "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(llama(), tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("rows", [200, 300])
def test_a_tokenizer_with_more_tokens_than_rows(rows, tmp_path, capsys):
    folder = save(llama(vocab_size=rows), tmp_path / "model", tokenizer="llama")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    ids = [7, 8, 9, 150]
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1])
    record = record_of(capsys, "invert", folder, "--states", states, "--layer", 1)
    assert record["result"]["prompts"][0]["token_ids"] == ids
    padded = rows_in(tmp_path / "padded.safetensors", torch.cat([torch.zeros(2, 64), plain(folder, ids)[1]]))
    record = record_of(capsys, "invert", folder, "--states", padded, "--layer", 1, "--diagnose")
    assert record["result"]["diagnosis"][0]["token_ids"] == ids


def test_a_special_token_without_a_row_is_told(tmp_path, capsys):
    folder = save(llama(vocab_size=200), tmp_path, tokenizer="llama")
    assert run(["invert", folder, "--text", "abc", "--layer", "1"]) == 2
    assert "its tokenizer makes 256 ('<bos>') at position 0" in capsys.readouterr().err
    assert run(["invert", folder, "--text", "abc", "--layer", "1", "--no-special-tokens"]) == 0


def test_rows_beyond_a_tokenizer_of_python(tmp_path, capsys):
    folder = save(llama(vocab_size=400), tmp_path / "model", tokenizer=None)
    tf.ByT5Tokenizer(extra_ids=0).save_pretrained(folder)
    ids = [75, 108, 390, 108]
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1])
    (found,) = record_of(capsys, "invert", folder, "--states", states, "--layer", 1)["result"]["prompts"]
    assert found["token_ids"] == ids
    assert found["text"] == "Hi[390]i"
    assert found["text_is_prompt"] is False


@pytest.mark.slow
def test_a_certificate_for_a_vocabulary_needs_no_tokenizer(tmp_path, capsys):
    folder = save(llama(vocab_size=8, num_hidden_layers=1), tmp_path / "model", tokenizer=None)
    given = ("certify", folder, "--vocabulary", "all", "--layer", 1)
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"token_ids": [3]}')
    record = record_of(capsys, *given, "--prompts", prompts)
    assert record["verdict"] == "separated"
    kept = tmp_path / "record.json"
    kept.write_text(json.dumps(record))
    assert record_of(capsys, "verify", kept)["verdict"] == "accepted"
    text = tmp_path / "p.txt"
    text.write_text("abc")
    assert run([*map(str, given), "--prompts", str(text)]) == 2
    assert "has no tokenizer" in capsys.readouterr().err


def test_a_text_that_is_not_the_prompt_is_told(tmp_path, capsys):
    folder = save(llama(), tmp_path / "model")
    ids = [65, 200, 66]  # a byte that is no character
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1])
    assert run(["invert", folder, "--states", states, "--layer", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"the text is not the prompt: the tokenizer makes other ids of it than {ids}" in said
    (found,) = record_of(capsys, "invert", folder, "--text", "plain text")["result"]["prompts"]
    assert found["text_is_prompt"] is True


def test_a_tokenizer_of_letters(tmp_path):
    letters = {letter: number for number, letter in enumerate("ACGTN")}
    tokenizer = Tokenizer(models.WordLevel({**letters, "[UNK]": 5}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    folder = save(llama(vocab_size=8), tmp_path, tokenizer=None)
    tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    model = sipit.load_model(folder)
    (found,) = sipit.invert(model, sipit.capture(model, ["GATTACA"], layer=1))
    assert (found.text, found.text_is_prompt) == ("GATTACA", True)


def test_a_prefix_may_begin_with_a_bracket(folder, tmp_path, capsys):
    ids = list(b"[INST] Say hello")
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1][10:])
    for prefix in ("[INST] Say", json.dumps(ids[:10])):
        record = record_of(capsys, "invert", folder, "--states", states, "--layer", 1, "--prefix", prefix)
        assert record["result"]["partial"][0]["token_ids"] == ids
    assert run(["invert", folder, "--states", states, "--layer", "1", "--prefix", "[1,2"]) == 2


def test_special_tokens_stand_where_the_tokenizer_puts_them(tmp_path, capsys):
    folder = save(llama(), tmp_path / "model")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <unused300>", special_tokens=[("<bos>", 256), ("<unused300>", 300)]
    )
    tokenizer.save_pretrained(folder)
    model = sipit.load_model(folder)
    assert special_ends(model) == ((256,), (300,))
    ids = [256, *b"say hi", 300]
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1][4:])
    given = ("--states", states, "--layer", 1, "--prefix", "say", "--suffix", "i")
    record = record_of(capsys, "invert", folder, *given)
    assert record["result"]["partial"][0]["token_ids"] == ids


def test_marks_of_byte_order_are_no_prompt(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "abc"}\n')
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc\r\n\r\ndef\r\n")
    (tmp_path / "b.txt").write_bytes("abc\ndef\n".encode("utf-16"))
    assert read_prompts(tmp_path / "a.jsonl") == ["abc"]
    assert read_prompts(tmp_path / "a.txt") == read_prompts(tmp_path / "b.txt") == ["abc", "def"]
    (tmp_path / "c.txt").write_text("abc\n \t\ndef\n")
    with pytest.raises(InvalidInput, match=r"line 2 of .* holds nothing but blanks"):
        read_prompts(tmp_path / "c.txt")


def test_as_many_positions_as_tokens(tmp_path):
    def make():
        return tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=128))

    module = drawn(make)
    with torch.no_grad():
        module.transformer.wte.weight[7] = module.transformer.wte.weight[5]
    model = sipit.load_model(save(module, tmp_path, tokenizer=None))
    (found,) = sipit.invert(model, sipit.capture(model, [[5, 7, 9]], layer=1))
    assert found.token_ids == [5, 5, 9]
    assert [one.token_ids for one in found.alternatives] == [[5, 7], [5, 7]]


def test_a_rotary_model_runs_beyond_its_length_and_says_so(tmp_path, capsys):
    folder = save(llama(max_position_embeddings=32), tmp_path / "model")
    ids = drawn_ids(40, seed=1)
    states = rows_in(tmp_path / "states.safetensors", plain(folder, ids)[1])
    record = record_of(capsys, "invert", folder, "--states", states, "--layer", 1)
    assert record["result"]["prompts"][0]["token_ids"] == ids
    (warning,) = record["provenance"]["warnings"]
    assert "40 tokens lies beyond the 32" in warning
    within = record_of(capsys, "invert", folder, "--text", "short", "--layer", 1)
    assert "warnings" not in within["provenance"]


@pytest.mark.parametrize("policy", ["draft", "nearest"])
def test_long_tables_run_in_stretches(policy, folder, monkeypatch):
    monkeypatch.setattr(search, "STRETCH", 8)
    monkeypatch.setattr(draft, "_LAST_PRIOR", 30)
    model, ids = sipit.load_model(folder), drawn_ids(40, seed=9)
    (found,) = sipit.invert(model, States((plain(folder, ids)[1],), 1), policy=policy)
    assert found.token_ids == ids
    rows = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    nowhere = [sipit.invert(model, States((rows[:end],), 1), policy=policy)[0] for end in (50, 100)]
    assert {one.outcome for one in nowhere} == {"not_found"}
    assert nowhere[0].token_positions == nowhere[1].token_positions  # no row behind the first stretch was run


def test_a_table_of_positions_ends_with_a_sentence(tmp_path):
    def make():
        return tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=4, n_positions=32))

    model = sipit.load_model(save(drawn(make), tmp_path))
    with pytest.raises(InvalidInput, match="Expected at most 32 tokens"):
        sipit.capture(model, [drawn_ids(33, seed=1)])
    with pytest.raises(InvalidInput, match="Expected at most 32 positions"):
        sipit.invert(model, States((torch.randn(33, 64),), 1))


def test_a_final_state_has_the_width_of_the_stream(tmp_path):
    config = tf.OPTConfig(**COMMON | {"ffn_dim": 128, "word_embed_proj_dim": 32})
    folder = save(drawn(lambda: tf.OPTForCausalLM(config)), tmp_path)
    module = tf.AutoModelForCausalLM.from_pretrained(folder)
    seen = []
    module.model.decoder.final_layer_norm.register_forward_hook(lambda _m, _a, output: seen.append(output[0].detach()))
    ids = drawn_ids(6, seed=2)
    module(input_ids=torch.tensor([ids]))
    model = sipit.load_model(folder)
    captured = sipit.capture(model, [ids], layer="final")
    torch.testing.assert_close(captured[0], seen[0])
    (found,) = sipit.invert(model, captured)
    assert found.token_ids == ids
