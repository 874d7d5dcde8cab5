"""Every documented bad input: exit status 2, one sentence on standard error, nothing on standard output, no file."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.errors import InvalidInput, Unsupported
from proofs.verdict import Verdict
from sipit.cli import run
from tests.sipit.cases import tiny

SMALL = {"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 32}
FILES = {
    "empty.txt": b"",
    "latin.txt": "Grüße\n".encode("latin-1"),
    "two.txt": b"one\ntwo\n",
    "half.jsonl": b'{"text": "\\ud800"}\n',
    "wrong.jsonl": b'{"text": 1}\n',
    "ids.jsonl": b'{"token_ids": [1, true]}\n',
    "text.safetensors": b"not states",
    "record.json": b'{"schema": "sipit/2", "command": "check", "verdict": "proved", "result": {}, "provenance": {}, '
    b'"seconds": 1}',
    "deep.json": b"[" * 100_000,
    "list.json": b"[]",
    "nan.json": json.dumps({"model_type": "llama", "rms_norm_eps": float("nan"), **SMALL}).encode(),
    "theta.json": json.dumps({"model_type": "llama", "rope_theta": float("inf"), **SMALL}).encode(),
    "zero.json": json.dumps({"model_type": "llama", "vocab_size": 0}).encode(),
    "rope.json": json.dumps({"model_type": "llama", "rope_scaling": {"type": "foo", "factor": 2}, **SMALL}).encode(),
    "unknown.json": b'{"model_type": "nothing"}',
}

# By command: arguments that are enough, then options with the values that each refuses. {…} are the files above.
COMMANDS = {
    "check": (["tiny-gpt2"], {
        "": ["", "nothing-here", "a\0b", "{list.json}", "{deep.json}", "{nan.json}", "{theta.json}", "{zero.json}",
             "{rope.json}", "{unknown.json}", "{missing}/config.json"],
        "--layer": ["9", "-1", "final", "²", "1.5", "9" * 30],
        "--attention": ["flash"],
    }),
    "capture": (["tiny-gpt2", "--text", "a", "-o", "{out}.safetensors"], {
        "--layer": ["9", "-1", "x", "²"], "--batch": ["0", "-3", "x"],
        "-o": ["{out}.json", "{missing}/s.safetensors", "{folder}"],
    }),
    "invert": (["tiny-gpt2", "--text", "abc"], {
        "--policy": ["best"], "--margin": ["some"], "--tolerance": ["x", "nan", "0", "-1", "inf"],
        "--budget": ["0", "-1", "nan", "x"], "--engine": ["slurm"], "--address": ["nowhere:1"],
        "--prefix": ["[1,2", "[999]", "[[1]]", "", "[1,2,3,4,5]", "abc"], "--suffix": ["", "[1,2,3,4,5]"],
        "--positions": ["x", "", "2,1", "0,0", "-1", "99"], "--states": ["{missing}", "{text.safetensors}", "{folder}"],
    }),
    "collide": (["tiny-gpt2", "--prompts", "{two.txt}"], {
        "--prompts": ["{missing}", "{empty.txt}", "{latin.txt}", "{half.jsonl}", "{folder}", "random:", "random:0",
                      "random:x"],
        "--layers": ["x", "", "1,,2", "9", "²"], "--limit": ["0", "1", "-5", "x"],
        "--threshold": ["nan", "-1", "inf"], "--window": ["0", "-4"], "--listed": ["0"],
        "--memory": ["0", "nan", "1e-9"], "--search": ["x"], "--engine": ["slurm"],
    }),
    "quantization": (["tiny-gpt2", "--quick"], {
        "--formats": ["", "x", "int4,,int8"], "--layers": ["0", "9", "x"], "--prompts": ["{missing}", "{empty.txt}"],
    }),
    "fuzz": (["tiny-gpt2"], {
        "--layer": ["9", "x"], "--examples": ["0", "-1"], "--longest": ["0"], "--policy": ["best"],
        "--keep": ["{two.txt}", "{two.txt}/x"],
    }),
    "train": ([], {
        "--steps": ["0", "-1"], "--rate": ["0", "-1", "nan", "inf"], "--layers": ["9", "x"], "--optimizer": ["lion"],
        "--model": ["smollm2", "tiny-x"], "--folder": ["{two.txt}", "{two.txt}/x"],
    }),
    "certify": (["tiny-gpt2", "--prompts", "{two.txt}"], {
        "--prompts": ["{missing}", "{empty.txt}", "{wrong.jsonl}", "{ids.jsonl}", "{half.jsonl}"],
        "--layer": ["9", "final", "²"], "--bits": ["x", "-1", "²"], "--vocabulary": ["x", "-1", "5"],
        "--states": ["{missing}", "{two.txt}"],
    }),
    "report": (["{record.json}", "-o", "{out}.html"], {
        "": ["{missing}", "{two.txt}", "{deep.json}", "{list.json}", "{folder}"],
        "-o": ["{out}.pdf", "{missing}/r.html"],
    }),
    "verify": (["{record.json}"], {
        "": ["{missing}", "{two.txt}", "{deep.json}", "{list.json}", "{folder}", "{record.json}"],
    }),
    "prove witness": ([], {"--vocabulary": ["0", "-1", "x"], "--context": ["0", "-1", "x"]}),
    "prove generic-position": (["--positions", "rope"], {
        "--context": ["0", "-1", "99"], "--positions": ["x"], "--model": ["tiny-llama"], "--width": ["0", "3", "99"],
        "--depth": ["0", "-1"], "--norm": ["x"], "--activation": ["x"],
    }),
    "prove training-step": ([], {
        "--rate": ["x", "1/0", "nan", "-1", "0", "inf", "1e99999999", "1e9_9_9_9", "9" * 200],
        "--width": ["0", "-1", "99"], "--optimizer": ["lion"], "--model": ["x", "tiny-x"],
    }),
    "download": (["smollm2"], {"": ["gpt5", ""]}),
}  # fmt: skip
OUTPUT = ["{out}.pdf", "{missing}/r.json", "{folder}", ""]
SHARED = {
    "--seed": (["x", "-1", "9" * 30], {"check", "capture", "invert", "collide", "quantization", "fuzz", "train",
                                       "certify", "prove generic-position", "prove training-step"}),
    "--dtype": (["int4", ""], {"check", "capture", "invert", "collide", "fuzz", "train", "certify"}),
    "--device": (["abacus", "meta", "cuda:99"], {"check", "capture", "invert", "collide", "quantization", "train"}),
    "-o": (OUTPUT, {"check", "invert", "collide", "quantization", "fuzz", "train", "certify", "verify", "prove witness",
                    "prove generic-position", "prove training-step", "download"}),
    "--nothing": ([""], set(COMMANDS)),
}  # fmt: skip


def cases():
    """Command lines with one bad value each."""
    for command, (enough, options) in COMMANDS.items():
        more = {option: values for option, (values, having) in SHARED.items() if command in having}
        for option, values in {**more, **options}.items():
            for value in values:
                replaced = enough[1:] if option == "" else enough  # the argument that stands first
                yield [*command.split(), *replaced, *([value] if option == "" else [option, value])]


ALL = list(cases())


@pytest.fixture
def places(tmp_path):
    (tmp_path / "files" / "folder").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "files" / name).write_bytes(content)
    files = {name: str(tmp_path / "files" / name) for name in [*FILES, "folder", "missing"]}
    (tmp_path / "out").mkdir()
    return files | {"out": str(tmp_path / "out" / "o")}


def filled(arguments, places):
    return [re.sub(r"\{([^{}]+)\}", lambda found: places[found[1]], argument) for argument in arguments]


def assert_refused(capsys, arguments, folder):
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    status = run(arguments)
    output, error = capsys.readouterr()
    assert (status, output) == (2, ""), (arguments, status, output, error)
    assert re.fullmatch(r"sipit: [^\n]*[^\n.][.?]?\n", error), (arguments, error)
    assert not re.search(r"[a-z]{3}\. [A-Z]", error), (arguments, error)  # a second sentence
    assert sorted(folder.rglob("*")) == before, arguments


@settings(max_examples=30)
@given(arguments=st.sampled_from(ALL), as_json=st.booleans())
def test_a_bad_input_is_refused_in_one_sentence(capsys, places, tmp_path, monkeypatch, arguments, as_json):
    monkeypatch.chdir(tmp_path)
    if "--nothing" not in arguments and as_json:
        arguments = [*arguments, "--json"]
    assert_refused(capsys, filled(arguments, places), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_every_bad_input_is_refused_in_one_sentence(capsys, places, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, filled(arguments, places), tmp_path)


@pytest.mark.parametrize(
    "arguments", [[], ["prove"], ["nothing"], ["checks"], ["prove", "witnes"], ["check"], ["verify"]]
)
def test_a_command_line_that_is_none_is_refused_in_one_sentence(capsys, tmp_path, arguments):
    assert_refused(capsys, arguments, tmp_path)


@settings(max_examples=15)
@given(text=st.text(st.characters(codec=None), max_size=12).filter(lambda text: "\0" not in text))
def test_any_text_is_refused_where_a_name_or_a_number_is_expected(capsys, tmp_path, text):
    for arguments in (["verify", text + "?"], ["check", text + "?"], ["prove", "witness", "--vocabulary", text + "?"]):
        assert_refused(capsys, arguments, tmp_path)


def test_half_a_character_is_no_prompt():
    from sipit.prompts.reading import tokenize

    with pytest.raises(InvalidInput, match="UTF-8"):
        tokenize(tiny("gpt2"), ["a\ud800"])


def test_a_format_names_a_package_that_is_there():
    from numerics.formats import Format
    from sipit.quantization.formatted import in_format

    for library in ("no-such-package", ""):
        with pytest.raises(InvalidInput, match="installed package"):
            in_format(tiny("gpt2"), Format("mine", "states", library, "nothing"))


def config(kind):
    import transformers

    if kind == "jetmoe":
        return transformers.JetMoeConfig(
            num_hidden_layers=1, hidden_size=32, num_key_value_heads=2, kv_channels=8, intermediate_size=32,
            vocab_size=64, num_local_experts=4, num_experts_per_tok=2,
        )  # fmt: skip
    return transformers.ReformerConfig(
        is_decoder=True, vocab_size=64, hidden_size=32, feed_forward_size=32, num_attention_heads=2,
        attention_head_size=16, axial_pos_embds_dim=(16, 16), attn_layers=["local"],
    )  # fmt: skip


@pytest.mark.parametrize("kind", [pytest.param("jetmoe", marks=pytest.mark.slow), "reformer"])
def test_sizes_that_depend_on_the_data_are_refused_by_name(kind):
    from numerics.graphs.capture import capture_graph

    with pytest.raises(Unsupported, match=rf"aten\.\w+ in \S+ \(\S*modeling_{kind}\.py:\d+\)"):
        capture_graph(config(kind), length=7)


def test_enclosures_that_are_too_wide_leave_every_pair_open(capsys, tmp_path, monkeypatch):
    from proofs.arithmetic.base import Undecided

    def too_wide(*arguments, **named):
        raise Undecided("Expected enclosures narrow enough to decide on, but got too wide ones; raise the bits.")

    monkeypatch.setattr("sipit.claims.certify.certify_separation", too_wide)
    prompts, page = tmp_path / "p.txt", tmp_path / "r.html"
    prompts.write_text("one\ntwo\nsix")
    capsys.readouterr()
    status = run(["certify", "tiny-gpt2", "--prompts", str(prompts), "--layer", "0", "-o", str(page), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert (status, record["verdict"]) == (3, Verdict.UNDECIDED)
    result = record["result"]
    assert (result["pairs"], result["certified"], len(result["uncertified"])) == (3, 0, 3)
    assert result["minimum_lower_bound"] is None and "too wide" in result["reason"]
    assert "0 of 3 pairs are certified" in page.read_text(encoding="utf-8")
