"""Pages of records: what they say, what they never say, and that they stand alone."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.errors import InvalidInput
from proofs.evidence import Record, read_record
from proofs.verdict import Verdict
from sipit.cli import app
from sipit.quantization import verdict_of
from sipit.report import render, write_report
from sipit.report.document import Claim, Figure, Table, Theme
from sipit.report.page import chapters_of, document_of
from sipit.report.provenance import repeat
from tests.sipit.report_pages import Page, classes_of, inversion_record, prompt_entry
from tests.sipit.report_records import COMMANDS, FOLDER, make, stored_records

QUICK = settings(max_examples=30, deadline=None, derandomize=True)


@QUICK
@given(
    st.recursive(
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
        max_leaves=10,
    )
)
def test_every_number_of_any_record_is_shown(value: Any):
    record = Record("later", Verdict.HELD, {"found": value}, {})
    expected = [repr(leaf) for leaf in _numbers(value, depth=0)]
    for form in ("html", "md"):
        page = render([record], format=form)
        assert all(text in page for text in expected)


def _numbers(value: Any, depth: int) -> list[Any]:
    """The numbers down to the depth that a page promises to show."""
    if isinstance(value, dict | list):
        entries = value.values() if isinstance(value, dict) else value
        return [leaf for entry in entries for leaf in _numbers(entry, depth + 1)] if depth < 4 else []
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def check_record() -> Record:
    result = {
        "regularity": "C0",
        "obstructions": [
            {
                "operation": "relu",
                "module": "layers.0.act",
                "source": "opt.py:242",
                "regularity": "C0",
                "reason": "kink",
            }
        ],
        "witness": {"claim": "not analytic", "bits": 128, "subject": "this graph"},
        "conditions": {"discharged": 8, "open": [{"statement": "eps > 0", "module": "norm", "source": "n.py:3"}]},
        "idealisations": ["casts are the identity"],
        "positions": "relative",
        "structural_collisions": [{"family": "repeated tokens", "statement": "r(aa) = r(a)", "example": [[1], [1, 1]]}],
        "duplicate_embeddings": {
            "rows": 512,
            "unique_rows": 510,
            "groups": [[5, 9, 11]],
            "tokens": [["<a>", "b", "c"]],
        },
        "layer": 2,
        "certificate": {"kind": "regularity", "graph": ["secret-of-the-certificate"] * 1000},
    }
    return Record("check", Verdict.REFUTED, result, {"model": "tiny-opt"}, 0.1)


@pytest.mark.parametrize("form", ["html", "md"])
def test_check_shows_obstructions_collisions_and_duplicates(form: Any):
    page = render([check_record()], format=form)
    assert "tiny-opt violates a hypothesis: the map is not analytic, by a certified witness" in page
    shown = Page(page).text if form == "html" else page
    for text in ("opt.py:242", "eps", "repeated tokens", "5, 9, 11", "casts are the identity", "proved"):
        assert text in shown
    assert "secret-of-the-certificate" not in page
    assert "sipit verify" in page


def test_a_witness_on_a_small_copy_refutes_nothing_of_the_large_network():
    record = check_record()
    copied = record.result["witness"] | {"subject": "a small copy"}
    alone = {"witness": copied, "structural_collisions": [], "duplicate_embeddings": None}
    page = Page(render([replace(record, verdict=Verdict.UNDECIDED, result=record.result | alone)], format="html"))
    assert "Witness on a small copy" in page.text
    assert "certified witness" not in page.text and "Witness that the failure is real" not in page.text


def test_captures_of_what_is_no_state_are_called_by_their_name():
    plain = {"files": ["s.safetensors"], "layer": None, "prompts": 1, "fingerprint": None}
    fingerprints = "The fingerprints of hidden states of 1 prompt at layer 1"
    for more, told in (
        ({"observation": {"sites": ["logits"]}}, "The logits of 1 prompt of tiny-gpt2 were captured."),
        ({"fingerprint": 8, "layer": 1}, fingerprints),
    ):
        page = render([Record("capture", Verdict.DONE, plain | more, {"model": "tiny-gpt2"})], format="html")
        assert told in Page(page).text


def test_capture_names_the_file_and_claims_nothing():
    result = {"files": ["s.safetensors"], "layer": 3, "prompts": 2, "positions": 20, "lengths": [8, 12], "cached": True}
    read = Page(render([Record("capture", Verdict.DONE, result, {"model": "tiny-gpt2"})], format="html"))
    assert "The hidden states of 2 prompts at layer 3 of tiny-gpt2 were captured." in read.text
    assert "token by token with a cache, 20 positions in all" in read.text
    assert "neutral" in classes_of(read, "hero")[0]


def test_several_records_make_one_page_with_the_verdicts_first():
    good = inversion_record(prompt_entry(["x"]))
    records = [good, check_record(), Record("collide", Verdict.UNDECIDED, {"pairs": 3}, {})]
    page = render(records, format="html")
    read = Page(page)
    assert "The prompt came back from the hidden states of " in read.text
    assert {"c1", "c2", "c3"} <= {attributes.get("id") for _, attributes in read.elements}
    assert "holds" in classes_of(read, "hero")[0]
    assert "refuted: not analytic, exact collisions: 1 family, equal embedding rows: 1 group" in read.text
    assert "residual" in read.text and "opt.py:242" in read.text and "pairs" in read.text


def collide_record(*thresholds: float, **causes: int) -> Record:
    known = {"pairs": sum(causes.values()), "causes": {name.replace("_", " "): found for name, found in causes.items()}}
    same = {"known_to_collide": known, "outside": {"below_threshold": 0}, "noise": 1e-6, "median_norm": 10.0}
    layers = [{"layer": layer, "threshold": one, **same} for layer, one in enumerate(thresholds, start=1)]
    return Record("collide", Verdict.COLLISION, {"prompts": 9, "pairs": 36, "layers": layers}, {"model": "tiny-gpt2"})


def test_pairs_that_are_believed_to_collide_are_not_called_proved():
    """A count of the pairs that are known is no bound on all, and families are shown at two lengths alone."""
    believed, both = collide_record(8e-5, 8e-5, structural_family=5), collide_record(8e-5, duplicate_rows=2, x=3)
    for record, rows in ((believed, ()), (both, ("2 pairs collide",))):
        (chapter,) = [one for one in chapters_of(record) if one.theme is Theme.COLLISIONS]
        text = " ".join(sentence.text for sentence in chapter.sentences)
        assert "at most" not in text.lower() and "5 pairs are known to collide over the real numbers" in text
        assert "shown at two short lengths" in text and "which is 8 times the measured noise" in text
        proved = [sentence.text for sentence in chapter.sentences if sentence.claim is Claim.PROVED]
        assert [one.split(" at every layer")[0] for one in proved] == list(rows)
        assert chapter.findings.proved == tuple(f"{one} because of equal embedding rows" for one in rows)
        overview = next(block for block in chapter.blocks if isinstance(block, Table))
        assert Claim.PROVED not in {column.claim for column in overview.columns}
    trained = Record("train", Verdict.COLLISION, {"known_to_collide": [{"layer": 1, "pairs": 360}]}, {})
    (chapter,) = chapters_of(trained)
    (told,) = [sentence for sentence in chapter.sentences if "360 pairs are known to collide" in sentence.text]
    assert told.claim is None and "believed of others" in told.text


def test_a_threshold_that_somebody_chose_is_told_beside_the_noise():
    chosen = render([collide_record(0.05, 5.0)], format="md")
    assert "which is from 5000 to 5.00e5 times the measured noise of a median state" in chosen
    blank = Record("collide", Verdict.SEPARATED, {"layers": [{"threshold": 0.5}, {"noise": 0, "median_norm": 1}]}, {})
    assert "of them none came within the threshold." in render([blank], format="md").lower()


@pytest.mark.parametrize("name", ["audit", "compare", "leak", "quantization"])
def test_a_page_of_one_record_opens_with_its_first_chart(name: str):
    record = read_record(FOLDER / f"{name}.json")
    document, shown = document_of([record]), [b for c in chapters_of(record) for b in c.blocks]
    charts = [block for block in shown if isinstance(block, Figure)]
    left = [block for chapter in document.chapters for block in chapter.blocks if isinstance(block, Figure)]
    assert document.figure in charts and sorted(map(str, [document.figure, *left])) == sorted(map(str, charts))
    page = render([record], format="html")
    assert page.count("<figcaption") == page.count("<figure") >= len(charts)
    assert page.index("<figure") < page.index('<dl class="verdict">')


def test_what_the_attacker_was_told_is_what_the_record_says():
    """Of states that a defence let out he knows what became of other prompts, and nothing else of the defence."""
    attacker = {"candidates": 8, "exhausted": False, "told_tokens_before": True}
    pages = [
        render([Record("leak", Verdict.DONE, {"curves": [{"attacker": attacker | more}]}, {})], format="md")
        for more in ({}, {"told_changes_of_other_prompts": True})
    ]
    assert "told the defence, its parameters, and the tokens" in pages[0] and "other prompts" not in pages[0]
    assert "told how other prompts were changed" in pages[1] and "its parameters" not in pages[1]


def test_where_no_prompt_came_back_the_results_are_counted():
    lost = inversion_record(prompt_entry(["x", None], outcome="ambiguous"), verdict=Verdict.AMBIGUOUS)
    wrong = inversion_record(prompt_entry(["x"], matches_truth=False))
    for one in (lost, wrong):
        read = Page(render([one, check_record()], format="html"))
        assert not classes_of(read, "picture") and "2 results: " in read.text


def test_ids_are_unique_and_everything_is_inside_the_file():
    prompts = [prompt_entry(["x", None]), prompt_entry(["y"])]
    read = Page(render([inversion_record(*prompts), inversion_record(*prompts)], format="html"))
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {name for _, attributes in read.elements for name in (attributes.get("aria-labelledby") or "").split()}
    assert used <= set(ids)
    for tag, attributes in read.elements:
        assert tag not in {"script", "iframe", "img", "object", "embed", "form"}
        assert not any(name.startswith("on") or name in {"src", "style", "srcdoc"} for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    policy = next(a["content"] for tag, a in read.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")


def test_the_style_asks_for_nothing_from_elsewhere():
    style = render([check_record()], format="html").split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    for feature in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert feature in style


def test_a_page_of_twenty_prompts_of_sixty_four_tokens_is_small():
    record = inversion_record(*[prompt_entry([" statement"] * 63 + ["\n"]) for _ in range(20)])
    assert len(render([record], format="html").encode()) < 1_000_000


def test_of_very_many_prompts_those_that_failed_are_shown_first():
    entries = [prompt_entry(["fine"]) for _ in range(300)]
    entries[250] = prompt_entry(["lost", None], outcome="not_found")
    page = render([inversion_record(*entries, verdict=Verdict.NOT_FOUND)], format="html")
    read = Page(page)
    assert "Prompt 250" in read.text and "Prompt 0" in read.text and "Prompt 60" not in read.text
    assert "260 more prompts in the record" in read.text and "100 more rows in the record" in read.text
    assert "299 of 300 prompts recovered" in read.text
    assert len(page) < 1_000_000


def test_a_page_depends_on_the_records_alone():
    record = inversion_record(prompt_entry(["x"]))
    again = Record.from_json(json.loads(record.dumps()))
    for form in ("html", "md"):
        assert render([record], format=form) == render([again], format=form)


def test_write_report_follows_the_ending(tmp_path: Path):
    record = inversion_record(prompt_entry(["é"]))
    write_report(tmp_path / "page.html", [record])
    write_report(tmp_path / "page.md", [record])
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# Inversion of 1 prompt: smollm2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.md"]


def test_write_report_refuses_what_is_no_page(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"ending in \.html or \.md"):
        write_report(tmp_path / "page.pdf", [check_record()])
    with pytest.raises(InvalidInput, match="at least one record"):
        write_report(tmp_path / "page.html", [])
    with pytest.raises(InvalidInput, match="can be written"):
        write_report(tmp_path / "missing" / "page.html", [check_record()])
    assert list(tmp_path.iterdir()) == []


def test_how_to_repeat_it_is_the_command_line_of_the_record():
    line = "sipit invert smollm2 --text 'a b' --layer 15"
    assert line in render([inversion_record(prompt_entry(["a"]), command_line=line)], format="md")
    listed = inversion_record(prompt_entry(["a"]), command_line=["sipit", "invert", "a b"])
    assert "sipit invert 'a b'" in render([listed], format="md")


def test_a_command_on_a_model_is_repeated_with_it():
    """Of every command, also where the record has lost its line: MODEL stands where the command takes one."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        takes = [parameter.name for parameter in command.params if parameter.param_type_name == "argument"]
        record = Record(name, Verdict.HELD, {}, {"model": "tiny-gpt2"})
        assert (repeat(record) == f"sipit {name} tiny-gpt2") == (takes == ["model"]), name


@pytest.mark.parametrize(
    "line", ["rm -rf x", "sipit check a; rm -rf x", "sipit check $(rm x)", "sipit 'check", ["bash", "-c", "x"], "sipit"]
)
def test_a_record_cannot_make_a_page_show_another_command(line: Any):
    record = inversion_record(prompt_entry(["a"]), command_line=line)
    page = render([record], format="md")
    shown = page.split("### How to repeat it")[1].split("```")[1].removeprefix("text\n").strip()
    words = shlex.split(shown, comments=False, posix=True)
    assert words[0] == "sipit" and shlex.join(words) == shown  # one command, in which nothing is left to a shell


def test_the_chapters_have_the_order_of_a_reader_whatever_the_order_of_the_records():
    records = stored_records()
    for order in (records, records[::-1]):
        chapters = document_of(order).chapters
        themes = [chapter.theme for chapter in chapters]
        assert list(dict.fromkeys(themes)) == [theme for theme in Theme if theme in themes]
        assert themes[0] is Theme.ASSUMPTIONS and themes[-1] is Theme.CERTIFICATES


def test_the_verdict_is_three_sentences():
    document = document_of(stored_records())
    proved, measured, broken = (sentence.text for sentence in document.verdict)
    assert "A repaired witness tells all" in proved and "Bounded under rounding: rounding in" in proved
    assert "recovered from the hidden states" in measured and "No two of 400 prompts share a state" in measured
    assert "collides for every parameter value" in broken and "equal states" in broken
    assert all(one.endswith(".") and ". " not in one for sentence in document.verdict for one in sentence.clauses)
    nothing = document_of([Record("capture", Verdict.DONE, {}, {})])
    assert [sentence.text.split()[0] for sentence in nothing.verdict] == ["Nothing"] * 3


def test_every_certificate_comes_with_the_command_that_checks_it_again():
    records = stored_records()
    files = [f"my {record.command}.json" for record in records]
    page = Page(render(records, format="html", files=files))
    held = [(one, file) for one, file in zip(records, files, strict=True) if "certificate" in one.result]
    assert len(held) >= 5
    for record, file in held:
        weights = " --model tiny-gpt2" if record.command == "certify" else ""
        assert f"sipit verify '{file}'{weights}" in page.text
    assert "sipit verify RECORD.json" in Page(render(records, format="html")).text


def test_every_number_of_a_table_is_called_what_it_is_or_is_a_setting():
    for record in stored_records():
        page = render([record], format="html")
        assert 'class="claim' in page or record.verdict is Verdict.DONE, record.command
    quantization = next(record for record in stored_records() if record.command == "quantization")
    text = Page(render([quantization], format="html")).text
    assert "Twice the noise, with the rounding of float32, in percent of the margin" in text
    assert "first at layer" not in text


def test_a_format_is_void_by_the_sum_that_its_page_names():
    """Where noise alone lies below half the margin, nothing says that it does not."""
    record = next(one for one in stored_records() if one.command == "quantization")
    result = json.loads(json.dumps(record.result))
    (first, *_), breaking = result["formats"], {"noise": 0.0049, "margin": 0.01, "position": 0, "token": 3, "rival": 4}
    first["layers"][0] |= {**breaking, "share": 1.02, "guarantee": "void", "counterexample": breaking}
    first["first_layer_void"] = 1
    text = Page(render([replace(record, result=result, verdict=Verdict.VOID)], format="html")).text
    used = "twice the noise, with the rounding of float32"
    assert "102 %" in text and f"some reach the margin at some layer by {used}." in text
    assert f"{used}, of tiny-llama reaches the margin in float32 (first at layer 1)" in text.replace("Twice", "twice")
    assert f"a true token, and the rival within {used}" in text
    assert "more noise than half" not in text and "exceeds half" not in text
    del first["layers"][0]["share"]  # as an earlier version wrote it: the sum is not known
    assert "98 %" not in Page(render([replace(record, result=result)], format="html")).text


def test_states_that_collide_in_a_format_void_its_record_and_its_page_says_so():
    record = next(one for one in stored_records() if one.command == "quantization")
    result = json.loads(json.dumps(record.result))
    for one in result["formats"]:
        one |= {"first_layer_void": None, "wrong": 0, "collisions": 0}
    assert verdict_of(result) is Verdict.HELD
    result["formats"][0]["collisions"] = 5  # of which most pairs are one at two layers
    for layer, pairs in zip(result["formats"][0]["layers"], (2, 3), strict=True):
        layer["collisions"] = pairs
    assert verdict_of(result) is Verdict.VOID
    text = Page(render([replace(record, result=result, verdict=Verdict.VOID)], format="html")).text
    assert "some gave different prompts one state." in text and "reach the margin at some" not in text
    assert f"3 pairs of prompts of tiny-llama have one state in {result['formats'][0]['format']} at layer 2" in text


@pytest.mark.slow
@pytest.mark.edge
@pytest.mark.parametrize("name", COMMANDS)
def test_the_stored_records_are_as_the_commands_write_them(name: str, tmp_path: Path):
    """Fields of a record that change must be seen by the page."""
    made, kept = make(name, tmp_path), json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    # That of doctor is about the machine: the embedded model may be missing.
    assert made["verdict"] in ({"ok", "degraded"} if name == "doctor" else {kept["verdict"]})
    assert _shape(made["result"]) == _shape(kept["result"])


def _shape(value: Any) -> Any:
    """The fields of a record, and of the first entry of every list."""
    if isinstance(value, dict):
        return {key: _shape(entry) for key, entry in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value else type(value) is bool


def test_a_page_of_fuzzing_says_in_how_many_ways_prompts_fail():
    failures = [{"class": "crash", "token_ids": [1], "layer": 1, "detail": "no", "command": "sipit"}]
    result = {"layer": 1, "examples": 12, "failures": failures}
    page = render([Record("fuzz", Verdict.VOID, result, {"model": "tiny-gpt2"})], format="html")
    told = "Of 12 prompts that were inverted, some fail in 1 way to come back from the states of tiny-gpt2."
    assert told in Page(page).text
