"""States that say which model and layer they are of are held against no other, whatever is done with them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.inversion.record import partial_record
from sipit.privacy.audit import audit_states
from sipit.record import versions
from sipit.states.files import States, write_states
from tests.sipit.cases import tiny

TEXT = "Hello"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A prompt behind the first block of tiny-gpt2, as wide as tiny-llama."""
    folder = tmp_path_factory.mktemp("states")
    (folder / "prompts.txt").write_text(f"{TEXT}\nHelp!\n")
    write_states(folder / "s.safetensors", sipit.capture(tiny("gpt2"), [TEXT], layer=1))
    return folder


LINES = {
    "invert": "invert {model} --states {states}",
    "a part": "invert {model} --states {states} --positions 0,1",
    "behind a prefix": "invert {model} --states {states} --prefix He",
    "before a suffix": "invert {model} --states {states} --suffix lo",
    "audit": "audit {model} --states {states} --prompts {one}",
    "certify": "certify {model} --states {states} --prompts {prompts} --no-noise --noise 1e-3",
    "certify a vocabulary": "certify {model} --states {states} --prompts {one} --vocabulary 9 --no-noise",
    "leak": "leak {model} --released {states} --prompts {one} --layers 1",
}


def told(line, file, model):
    one = file / "one.txt"
    one.write_text(f"{TEXT}\n")
    places = {"states": file / "s.safetensors", "prompts": file / "prompts.txt", "one": one}
    return line.format(model=model, **places).split()


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_states_of_another_model_are_refused(line, file, capsys):
    assert run(told(line, file, "tiny-llama")) == 2
    assert "name that model" in capsys.readouterr().err


@given(release=st.none() | st.sampled_from(["5.23.0", "6.0.0", versions()["transformers"]]))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_a_digest_is_not_said_to_be_of_another_model_where_the_release_may_be_why(release):
    """A release gives a configuration further fields, and the digest is of them too."""
    model, installed = tiny("llama"), versions()["transformers"]
    manifest = sipit.capture(model, [TEXT], layer=1).manifest
    held = {name: of for name, of in manifest.versions.items() if name != "transformers"}
    manifest = replace(manifest, versions=held if release is None else held | {"transformers": release})
    manifest.check_model(model)  # the digest decides, and not the release
    with pytest.raises(InvalidInput, match="name that model") as refused:
        replace(manifest, digest="0" * 64).check_model(model)
    named = release or "of a release that is not said"
    said = f"unless transformers {named} gave it another digest than {installed} does" in str(refused.value)
    assert said == (release != installed)


def test_the_layer_of_the_states_is_the_one_that_is_certified(file, capsys):
    line = told(LINES["certify"], file, "tiny-gpt2")
    assert run([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert (found["layer"], found["matches"], found["unique"]) == (1, [0], True)
    assert run([*line, "--layer", "2"]) == 2
    assert "layer" in capsys.readouterr().err


def test_keys_are_not_certified(file, capsys):
    path = file / "keys.safetensors"
    write_states(path, sipit.capture(tiny("gpt2"), [TEXT], layer=1, observe="keys"))
    assert run(["certify", "tiny-gpt2", "--prompts", str(file / "prompts.txt"), "--states", str(path)]) == 2
    assert "Expected the residual stream at one layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (("--observe", "keys", "--layer", "0,1"), "keys"),  # of no width of the stream
        (("--observe", "keys", "--layer", "1"), "keys"),  # as wide as it
        (("--observe", "logits"), "logits"),
        (("--layer", "1", "--fingerprint", "16"), "fingerprints"),
    ],
)
def test_what_is_no_row_of_the_stream_is_not_diagnosed_as_one(seen, words, tmp_path, capsys):
    path = str(tmp_path / "s.safetensors")
    assert run(["capture", "tiny-gpt2", "--text", TEXT, *seen, "-o", path]) == 0
    assert run(["invert", "tiny-gpt2", "--states", path, "--diagnose"]) == 2
    said = capsys.readouterr().err
    assert f"holds {words}" in said and "leave --diagnose away" in said


def test_halves_of_a_block_are_diagnosed_as_they_are(tmp_path, capsys):
    path = str(tmp_path / "s.safetensors")
    assert run(["capture", "tiny-gpt2", "--text", TEXT, "--observe", "attention-out", "--layer", "1", "-o", path]) == 0
    run(["invert", "tiny-gpt2", "--states", path, "--diagnose"])
    assert "what attention adds" in capsys.readouterr().out


def test_states_of_no_prompt_are_none():
    model, nothing = tiny("gpt2"), States((), layer=1)
    for work in (lambda: sipit.invert(model, nothing), lambda: audit_states(model, nothing, [])):
        with pytest.raises(InvalidInput, match="at least one prompt"):
            work()


def test_what_states_were_computed_in_counts_for_a_part(file):
    """A manifest that says half precision widens the tolerance of a part as it does that of the whole."""
    states = sipit.capture(tiny("gpt2"), [TEXT], layer=1)
    halved = replace(states, manifest=replace(states.manifest, dtype="bfloat16"))
    plain, wide = (partial_record(tiny("gpt2"), one, positions=[0, 1]) for one in (states, halved))
    assert plain.verdict.value == "recovered"
    assert wide.result["partial"][0]["nearest_text"].startswith("H")
