"""Capturing does not depend on company or order, and prompts are checked before anything is computed."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.cli import run
from sipit.prompts.reading import read_prompts, tokenize
from sipit.states import capturing, layered
from sipit.states.layered import capture_layers
from tests.sipit.cases import ALL_FAMILIES, altered, random_prompts, tiny

IDS = st.lists(st.integers(0, 511), min_size=1, max_size=12)


def assert_close(one, other):
    assert one.shape == other.shape
    assert float(((one - other).norm(dim=1) / other.norm(dim=1)).max()) < 1e-5


@settings(max_examples=15)
@given(
    prompts=st.lists(IDS, min_size=1, max_size=5), batch=st.integers(1, 6), padding=st.sampled_from(["left", "right"])
)
def test_company_in_a_batch_changes_nothing_but_rounding(prompts, batch, padding):
    model = tiny("llama")
    together = sipit.capture(model, prompts, layer=2, batch=batch, padding=padding)
    for prompt, array in zip(prompts, together, strict=True):
        assert_close(array, sipit.capture(model, [prompt], layer=2)[0])


@pytest.mark.edge
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_later_tokens_do_not_move_earlier_states(family):
    model = tiny(family)
    (prompt,) = random_prompts(1, shortest=20, longest=20, seed=51)
    whole = sipit.capture(model, [prompt], layer=2)[0]
    for length in (1, 7, 19):
        assert_close(sipit.capture(model, [prompt[:length]], layer=2)[0], whole[:length])


@pytest.mark.edge
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_cache_and_one_forward_agree_up_to_rounding(family):
    model = tiny(family)
    (prompt,) = random_prompts(1, shortest=20, longest=20, seed=52)
    for layer in (1, 2, "final"):
        cached = sipit.capture(model, [prompt], layer=layer, cached=True)[0]
        assert_close(cached, sipit.capture(model, [prompt], layer=layer)[0])


def test_relabelling_the_vocabulary_relabels_the_states():
    """Two tokens that trade rows trade states."""
    from tests.sipit.cases import altered

    def swap(module):
        rows = module.get_input_embeddings().weight
        rows[[5, 9]] = rows[[9, 5]]

    other = altered("llama", swap)
    assert torch.equal(
        sipit.capture(other, [[1, 5, 9, 5]], layer=2)[0], sipit.capture(tiny("llama"), [[1, 9, 5, 9]], layer=2)[0]
    )


def test_the_default_layer_is_half_the_depth():
    states = sipit.capture(tiny("gpt2"), [[1, 2]])
    assert (states.layer, states.manifest.layer) == (1, 1)


def test_progress_counts_prompts():
    seen = []
    sipit.capture(tiny("gpt2"), [[1]] * 5, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("layer", [-1, 3, "last", 1.5])
def test_layers_that_are_none(layer):
    model = tiny("gpt2")
    with pytest.raises(InvalidInput, match="layer from 0 to 2 or 'final'"):
        sipit.capture(model, [[1]], layer=layer)


@pytest.mark.parametrize(("batch", "cached"), [(0, False), (-1, False), (2, True)])
def test_batches_that_are_none(batch, cached):
    with pytest.raises(InvalidInput, match="batch"):
        sipit.capture(tiny("gpt2"), [[1]], layer=1, batch=batch, cached=cached)


# Prompts.

BAD_PROMPTS = {
    "none": ([], "at least one|one prompt or more"),
    "a text that is no list": ("text", "list"),
    "an empty text": ([""], "prompt 0 is empty"),
    "no ids": ([[1], []], "prompt 1 is empty"),
    "too long": ([[1] * 129], "at most 128 tokens"),
    "an id too large": ([[1, 512]], "512 at position 1"),
    "a negative id": ([[-1]], "-1 at position 0"),
    "a fraction": ([[1.5]], "1.5 at position 0"),
    "a truth value": ([[True]], "True at position 0"),
    "a word": ([["a"]], "'a' at position 0"),
    "nothing": ([[None]], "None at position 0"),
}


@pytest.mark.parametrize("kind", BAD_PROMPTS)
def test_a_bad_prompt_is_named_before_anything_is_computed(kind):
    prompts, reason = BAD_PROMPTS[kind]
    with pytest.raises(InvalidInput, match=reason):
        sipit.capture(tiny("gpt2"), prompts, layer=1)


@given(IDS)
def test_ids_are_taken_as_given(ids):
    for special_tokens in (True, False):
        assert tokenize(tiny("llama"), [ids], special_tokens=special_tokens) == [ids]


@given(st.text(min_size=1, max_size=20))
def test_text_is_tokenised_as_the_tokenizer_does(text):
    model = tiny("llama")
    assert tokenize(model, [text]) == [list(model.tokenizer(text).input_ids)]
    assert tokenize(model, [text], special_tokens=False) == [list(text.encode())] or "<" in text


def test_an_empty_text_with_a_bos_is_one_token():
    assert tokenize(tiny("llama"), [""]) == [[256]]


LINES = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(LINES.filter(str.strip), min_size=1, max_size=5))
def test_a_text_file_has_one_prompt_per_line(tmp_path, lines):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    assert read_prompts(path) == lines


@given(st.lists(st.one_of(st.fixed_dictionaries({"text": st.text(max_size=9)}),
                          st.fixed_dictionaries({"token_ids": IDS})), min_size=1, max_size=5))  # fmt: skip
def test_a_json_file_has_one_prompt_per_line(tmp_path, entries):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    assert read_prompts(path) == [next(iter(entry.values())) for entry in entries]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "at least one prompt"),
        ("a.txt", b"\n \n", "at least one prompt"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.csv", b"text", ".txt or .jsonl"),
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}', "line 2"),
        ("a.jsonl", b'{"text": 3}', "line 1"),
        ("a.jsonl", b'\n"text"', "line 2"),
        ("a.jsonl", b"[1, 2]", "line 1"),
        ("a.jsonl", b"{", "line 1"),
        ("a.jsonl", b"[" * 10**5, "line 1"),
    ],
)
def test_a_bad_prompt_file_is_refused_by_line(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=reason):
        read_prompts(path)


NO_PROMPT = {
    '{"text": "a", "token_ids": [1]}': "has both",
    '{"text": "a", "token_ids": []}': "has both",
    '{"text": 3, "token_ids": [1]}': "has both",
    '{"text": "a", "text": "a"}': "twice",
    '{"token_ids": [1], "token_ids": [2]}': "twice",
    '{"text": "a", "x": {"y": 1, "y": 2}}': "twice",
    **{f'{{"token_ids": [1, {odd}]}}': "no whole number" for odd in ("[1]", "null", "true", "1.0", '"1"', "{}", "NaN")},
    '{"token_ids": [[1]]}': "no whole number",
    '{"token_ids": 1}': "is neither",
    "{}": "is neither",
}


@pytest.mark.parametrize("line", NO_PROMPT)
def test_a_line_says_one_prompt_once_or_is_refused(tmp_path, line):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(InvalidInput, match=f"line 2 of .*{NO_PROMPT[line]}"):
        read_prompts(path)


def test_other_fields_of_a_line_count_for_nothing(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": 7, "text": "a", "token_ids": null}\n{"token_ids": [1], "note": [[true]]}\n')
    assert read_prompts(path) == ["a", [1]]


def test_prompt_files_that_are_missing_or_folders(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    for path in (tmp_path / "none.txt", tmp_path / "folder.txt"):
        with pytest.raises(InvalidInput, match="readable"):
            read_prompts(path)


# States that are not finite.


def overflowing(module):
    for name, parameter in module.named_parameters():
        if "mlp" in name:
            parameter.mul_(1e4)


def poisoned(module):
    module.get_input_embeddings().weight[7] = float("nan")


NOT_FINITE = {
    "overflowed in float16": (overflowing, torch.float16, "--dtype float32"),
    "NaN in a weight": (poisoned, torch.float32, "look at the weights"),
}
WAYS = {
    "one forward": lambda model, how: sipit.capture(model, [[5, 6], [7, 8, 9]], layer=2, **how),
    "in a batch": lambda model, how: sipit.capture(model, [[5, 6, 3], [7, 8, 9]], layer=2, batch=2, **how),
    "without its mean": lambda model, how: sipit.capture(model, [[7, 8]], layer=2, observe="centred", **how),
    "log-probabilities": lambda model, how: sipit.capture(model, [[7, 8]], observe="logprobs", top=4, **how),
    "every layer": lambda model, how: capture_layers(model, [[5, 6], [7, 8, 9]], [0, 1, 2], **how).stacks,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", NOT_FINITE)
def test_states_that_are_not_finite_are_refused_where_they_are_captured(kind, way):
    change, dtype, words = NOT_FINITE[kind]
    model = altered("llama", change, dtype=dtype)
    with pytest.raises(InvalidInput, match=f"Expected finite states.*position .*{words}"):
        WAYS[way](model, {})
    found = WAYS[way](model, {"finite": False})
    assert not all(bool(one.isfinite().all()) for one in found)


COMMANDS = {
    "capture": ["capture", "{model}", "--prompts", "{prompts}", "--layer", "2", "-o", "{output}"],
    "capture of several layers": ["capture", "{model}", "--prompts", "{prompts}", "--layer", "all", "-o", "{output}"],
    "invert": ["invert", "{model}", "--prompts", "{prompts}"],
    "compare": ["compare", "{model}", "{model}@batch=2", "--prompts", "{prompts}"],
    "audit": ["audit", "{model}", "--states", "{states}", "--prompts", "{prompts}"],
    "leak": ["leak", "{model}", "--prompts", "{prompts}", "--layers", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_that_states_are_not_finite_and_writes_none(tmp_path, capsys, command):
    names = {name: str(tmp_path / name) for name in ("model", "prompts.jsonl", "states.safetensors", "o.safetensors")}
    _, prompts, kept, output = names.values()
    prompt = [7, 8, 9, 10, 11, 12]
    altered("llama", poisoned).module.save_pretrained(names["model"])
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"token_ids": prompt}) + "\n")
    loaded = sipit.load_model(names["model"])
    states = sipit.capture(loaded, [prompt], layer=2, finite=False)
    sipit.write_states(kept, replace(states, arrays=(torch.ones(6, loaded.width),)))
    given = {"model": names["model"], "prompts": prompts, "states": kept, "output": output}
    status = run([word.format(**given) for word in COMMANDS[command]])
    told = capsys.readouterr().err
    assert (status, "NaN or infinity" in told, "Traceback" in told) == (2, True, False), told
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("layer", ["1", "1,2"])
def test_the_record_of_a_capture_has_what_ran(tmp_path, capsys, monkeypatch, layer):
    """A group in which padding changes the states runs alone; one of equal lengths needs none."""
    prompts = [[9] * 20, [9] * 20, [5] * 19, [5] * 20, [7]]
    given = tmp_path / "p.jsonl"
    given.write_text("".join(json.dumps({"token_ids": ids}) + "\n" for ids in prompts))
    line = ["--prompts", str(given), "--layer", layer, "-o", str(tmp_path / "s.safetensors"), "--json", "--batch", "2"]

    def recorded():
        assert run(["capture", "tiny-llama", *line]) == 0
        said = capsys.readouterr()
        result = json.loads(said.out)["result"]
        return result["batch"], result["alone"], said.err

    assert recorded()[:2] == (2, 0)
    monkeypatch.setattr(capturing, "changed_by_padding", lambda _network, group, _states: len({*map(len, group)}) > 1)
    monkeypatch.setattr(layered, "changed_by_padding", lambda _network, group, _states: len({*map(len, group)}) > 1)
    batch, alone, err = recorded()
    assert (batch, alone) == ((2, 2) if layer == "1" else (1, 4))
    assert f"{alone} of 5 prompts ran alone" in err


@pytest.mark.parametrize("layer", ["1", "1,2"])
def test_prompts_of_which_nothing_was_to_run_together_are_not_said_to_have_run_alone(tmp_path, capsys, layer):
    line = ["capture", "tiny-llama", "--text", "abc", "--layer", layer, "-o", str(tmp_path / "s.safetensors"), "--json"]
    for way in ([], ["--cached"]):
        assert run([*line, *way]) == 0
        said = capsys.readouterr()
        result = json.loads(said.out)["result"]
        assert (result["batch"], result["alone"]) == (1, 0)
        assert "alone" not in said.err


@pytest.mark.parametrize(("seed", "layer"), [(None, 1), (None, 2), (3, 2)])
def test_states_that_a_prompt_does_not_decide_are_refused(seed, layer):
    """As in a Reformer, whose hashes are drawn for every run of a long prompt unless its configuration has a seed."""

    def drawn(_module, _arguments, output):
        if output.shape[1] < 20:
            return output
        if seed is not None:
            torch.manual_seed(seed)
        return output + torch.randn(output.shape)

    model = altered("gpt2", lambda module: module.transformer.h[1].register_forward_hook(drawn))
    prompts = [[1, 2, 3], list(range(30))]
    sipit.capture(model, prompts[:1], layer=2)
    if seed is None and layer == 2:
        with pytest.raises(Unsupported, match="two runs of 30 tokens differ"):
            sipit.capture(model, prompts, layer=2)
    else:
        sipit.capture(model, prompts, layer=layer)
