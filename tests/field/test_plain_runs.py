"""Captures are those of a plain run, or are refused: what the library was asked for is not always what it did."""

import pytest
import torch
import transformers as tf
from safetensors import safe_open

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.diagnosis.conventions import diagnose
from sipit.diagnosis.findings import Cause
from sipit.observations.observation import Observation
from sipit.states.files import States
from sipit.states.layered import capture_layers
from tests.field.families import FAMILIES, NO_EMBEDDING, STREAMS, dynamic, longrope
from tests.field.models import drawn_ids, llama, plain
from tests.sipit.cases import rest_slow
from tests.sipit.folders import drawn, save

# Others say the same again of a kind that is here.
QUICK = {"roberta", "mbart", "trocr of one block", "rwkv", "longrope", "openai-gpt", "llama4"}
# On both sides of the lengths by which rotations change; of the others two are enough.
LENGTHS = {"longrope": (5, 12, 16, 17, 26), "dynamic": (5, 12, 17, 26)}


@pytest.mark.parametrize("name", rest_slow(*QUICK, of=FAMILIES))
def test_captures_are_those_of_plain_runs_and_are_inverted(name, tmp_path):
    folder = save(FAMILIES[name](), tmp_path)
    model = sipit.load_model(folder)
    rows = min(512, model.vocabulary_size)
    prompts = [drawn_ids(length, seed=length, rows=rows) for length in LENGTHS.get(name, (5, 12))]
    theirs = [plain(folder, ids) for ids in prompts]
    for how in ({}, {"batch": 5}, {"batch": 5, "padding": "left"}, {"cached": True}):
        try:
            captured = sipit.capture(model, prompts, layer="final", **how)
        except Unsupported as refused:
            assert how == {"cached": True}, refused
            continue
        for one, other in zip(captured, theirs, strict=True):
            torch.testing.assert_close(one, other[-1], rtol=1e-4, atol=1e-4)
    first = 0 if name in NO_EMBEDDING else 1
    layer = 1 if model.layers > 1 else "final"
    foreign = States(tuple(states[first] for states in theirs), layer)
    found = sipit.invert(model, foreign)
    assert [one.token_ids for one in found] == prompts


def test_token_by_token_is_as_in_one_run_wherever_it_is_read(tmp_path):
    folder = save(FAMILIES["mbart"](), tmp_path)
    ids = drawn_ids(9, seed=1)
    expected = plain(folder, ids)
    model = sipit.load_model(folder)
    for layer in (0, 1):  # at 0 a run would end before the block by which a body counts what it remembers
        torch.testing.assert_close(sipit.capture(model, [ids], layer=layer, cached=True)[0], expected[layer])
    (both,) = capture_layers(model, [ids], [0, 1], cached=True).stacks
    torch.testing.assert_close(both, torch.stack(expected[:2]))
    for site in ("normed", "values", "attention-out", "mlp-out"):
        layer = 0 if site in ("normed", "values") else 1
        one, other = (sipit.capture(model, [ids], layer=layer, observe=site, cached=how)[0] for how in (False, True))
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", rest_slow(of=STREAMS))
def test_several_streams_are_those_that_the_library_lists(name, tmp_path):
    folder = save(STREAMS[name](), tmp_path)
    model = sipit.load_model(folder)
    ids, first = drawn_ids(6, seed=8, rows=64), name == "gemma3n"  # whose streams are the first axis
    module = tf.AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        out = module.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    theirs = [states[:, 0].movedim(0, 1) if first else states[0] for states in out.hidden_states]
    for layer, states in enumerate(theirs if first else theirs[:-1]):
        assert torch.equal(sipit.capture(model, [ids], layer=layer)[0], states.flatten(1))
    (last,) = sipit.capture(model, [ids], layer="final")
    assert torch.equal(last, out.last_hidden_state[0])
    assert torch.equal(last, theirs[-1]) is not first
    with pytest.raises(InvalidInput, match=r"a token has 4 streams of 32 numbers there: give all of them side by side"):
        sipit.invert(model, States((theirs[1][:, 0],), 1))


def test_a_table_of_whole_numbers_is_read_under_its_older_name(tmp_path):
    module = STREAMS["deepseek-v4"]()
    tables = {name: table for name, table in module.named_buffers() if name.endswith("tid2eid")}
    for table in tables.values():
        table.random_(4, generator=torch.Generator().manual_seed(3))
    folder = save(module, tmp_path)
    assert not {*tables} & {*safe_open(f"{folder}/model.safetensors", "pt").keys()}
    loaded = dict(sipit.load_model(folder).module.named_buffers())
    assert tables and all(torch.equal(loaded[name], table) for name, table in tables.items())


@pytest.mark.slow
def test_a_type_that_a_model_does_not_run_in_ends_no_diagnosis(tmp_path):
    folder = save(STREAMS["deepseek-v4"](), tmp_path)  # whose mixing is in float32, whatever its weights are
    model = sipit.load_model(folder)
    rows = torch.randn(4, model.width, generator=torch.Generator().manual_seed(0))
    assert diagnose(model, rows, claimed=1).cause is Cause.FOREIGN
    ids = drawn_ids(4, seed=9, rows=64)
    rough = sipit.capture(model, [ids], layer=1)[0] * (1 + 0.01 * rows)  # on no grid, and no nearer than a half type
    (found,) = sipit.invert(model, States((rough,), 1))
    assert found.token_ids == ids
    assert "as computed in bfloat16" in found.explanation  # float16 would have been tried before
    with pytest.raises(Unsupported, match="or --dtype float32"):
        sipit.load_model(folder, dtype="float16")


@pytest.mark.slow
@pytest.mark.parametrize("site", ["centred", "mlp-out"])
def test_rows_without_their_mean_and_rows_of_one_half_of_a_block(site, tmp_path):
    folder = save(llama(), tmp_path)
    ids, seen = drawn_ids(6, seed=6), []
    module = tf.AutoModelForCausalLM.from_pretrained(folder)
    module.model.layers[0].mlp.register_forward_hook(lambda _module, _given, output: seen.append(output[0]))
    with torch.inference_mode():
        rows = module(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
    rows = rows - rows.mean(dim=1, keepdim=True) if site == "centred" else seen[0]
    model = sipit.load_model(folder)
    (found,) = sipit.invert(model, States((rows,), observation=Observation.of(site, 1)))
    assert found.token_ids == ids
    named = diagnose(model, rows, claimed=1)  # as what they are not
    assert (named.site.name, list(named.token_ids)) == (site, ids)


def test_a_prompt_that_no_part_of_which_runs_alone_is_told(tmp_path):
    model = sipit.load_model(save(longrope(16), tmp_path))
    assert model.lengths.lengths == (16,)
    with pytest.raises(Unsupported, match="beyond 16 the states of every position depend on how long"):
        sipit.capture(model, [drawn_ids(17, seed=1)], cached=True)
    short = sipit.capture(model, [drawn_ids(16, seed=1)], cached=True)
    torch.testing.assert_close(short[0], sipit.capture(model, [drawn_ids(16, seed=1)])[0], rtol=1e-4, atol=1e-4)


def test_a_longer_prompt_before_changes_nothing(tmp_path):
    folder = save(dynamic(), tmp_path)
    model = sipit.load_model(folder)
    ids = drawn_ids(26, seed=3)
    captured = sipit.capture(model, [drawn_ids(40, seed=2), ids], layer=1)
    torch.testing.assert_close(captured[1], plain(folder, ids)[1], rtol=1e-4, atol=1e-4)


def test_no_number_format_is_blamed_for_a_length(tmp_path):
    folder = save(longrope(16), tmp_path)
    ids = drawn_ids(20, seed=4)
    found = diagnose(sipit.load_model(folder), plain(folder, ids)[1], claimed=1)
    assert found.cause is Cause.PLAIN
    assert list(found.token_ids) == ids


def test_a_decoder_of_speech_ends_where_its_table_does(tmp_path):
    sizes = {
        "vocab_size": 512, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
        "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "max_target_positions": 40,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    }  # fmt: skip
    folder = save(drawn(lambda: tf.WhisperForCausalLM(tf.WhisperConfig(**sizes))), tmp_path)
    model = sipit.load_model(folder)
    ids = drawn_ids(40, seed=5)
    torch.testing.assert_close(sipit.capture(model, [ids], layer=1)[0], plain(folder, ids)[1])
    with pytest.raises(InvalidInput, match="at most 40 tokens"):
        sipit.capture(model, [[*ids, 7]], layer=1)
