"""Pages of inversions: what they say of each prompt, and that a failure never looks like success."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.diagnosis.findings import Cause
from sipit.observations.sites import FINDERS
from sipit.report import render
from sipit.report.chapters.inversion import SHOWN
from sipit.report.chapters.partial_and_diagnosis import CAUSES
from sipit.report.document import Paragraph, Section, Tone
from sipit.report.observed import NAMES
from sipit.report.page import chapters_of, document_of
from sipit.report.wording import count, number
from tests.sipit.report_pages import Page, classes_of, inversion_record, prompt_entry
from tests.sipit.report_records import stored_records


def test_a_recovered_prompt_is_told_in_plain_sentences():
    page = render([inversion_record(prompt_entry(["The", " fox"], matches_truth=True))], format="html")
    read = Page(page)
    assert "The prompt was recovered from the hidden states: 2 of 2 tokens" in read.text
    assert (
        "measured, not proved: from the hidden states at layer 15, in float32, against at least 16 rivals" in read.text
    )
    assert "sipit invert smollm2" in read.text
    assert read.tokens == ["The", " fox"]
    assert all("holds" in names for names in classes_of(read, "tk"))


@pytest.mark.parametrize("outcome", ["not_found", "ambiguous", "budget_exhausted"])
def test_a_failure_never_looks_like_success(outcome: str):
    record = inversion_record(prompt_entry(["The", None], outcome=outcome), verdict=Verdict(outcome))
    read = Page(render([record], format="html"))
    assert "was recovered" not in read.text
    assert f"The prompt was not recovered: 1 {outcome.replace('_', ' ')}; 1 of 2 tokens resolved." in read.text
    assert "holds" not in classes_of(read, "hero")[0]
    first, second = classes_of(read, "tk")
    assert "holds" in first
    assert "hole" in second and "holds" not in second


def test_a_verdict_that_the_prompts_do_not_bear_out_is_not_repeated_in_words():
    read = Page(render([inversion_record(prompt_entry(["a", None], outcome="not_found"))], format="html"))
    assert "was recovered" not in read.text


def test_an_unresolved_position_shows_no_text_but_among_the_alternatives():
    entry = prompt_entry(["The", None], outcome="not_found")
    entry["pieces"] = ["The", "GUESS"]
    entry["alternatives"] = [{"position": 1, "token_ids": [4711], "pieces": ["nearest"], "reason": "not an answer"}]
    record = inversion_record(entry, verdict=Verdict.NOT_FOUND)
    for page in (render([record], format="html"), render([record], format="md")):
        assert "GUESS" not in page
        assert "not an answer: 4711 “nearest”" in page
    assert "nearest" not in "".join(Page(render([record], format="html")).tokens)


def test_a_wrong_token_is_called_wrong():
    page = render([inversion_record(prompt_entry(["The"], matches_truth=False))], format="html")
    assert "Attention: 1 prompt called recovered differ" in page
    assert "not the true text" in page


def test_tokens_without_pieces_show_their_ids():
    entry = prompt_entry(["a", "b"])
    del entry["pieces"]
    read = Page(render([inversion_record(entry)], format="html"))
    assert read.tokens == ["[100]", "[101]"]
    assert "The text as a whole" in read.text


@pytest.mark.parametrize("form", ["html", "md"])
def test_every_number_of_an_inversion_is_shown(form: Any):
    entries = [prompt_entry(["x"] * 5, novel=[{"deep": 77123}], seconds=8.125), prompt_entry(["y", None])]
    record = inversion_record(*entries, verdict=Verdict.AMBIGUOUS)
    record.result["threads"] = 4242
    page = render([record], format=form)
    assert {"77123", "4242"} <= set(re.findall(r"\d+", page))
    for entry in entries:
        for token in entry["tokens"]:
            assert number(token["residual"]) in page
            assert number(token["margin"]) in page
        for name in ("forward_passes", "token_positions", "candidates_tested", "seconds", "largest_residual"):
            assert number(entry[name]) in page
    assert number(3.55e-5) in page


def test_numbers_carry_their_claim():
    read = Page(render([inversion_record(prompt_entry(["x"]))], format="html"))
    assert "residual measured" in read.text
    assert [names & {"proved", "bounded"} for names in classes_of(read, "claim") if "measured" not in names] == []


def test_every_cause_of_a_diagnosis_has_its_badge():
    assert {cause.value for cause in Cause} == CAUSES.keys()


PARTS = st.sampled_from([("recovered", True), ("recovered", False), ("recovered", None), ("ambiguous", False),
                         ("budget_exhausted", None), ("not_found", False), ("later", None)])  # fmt: skip


@given(st.lists(PARTS, min_size=1, max_size=4), st.booleans())
def test_a_page_is_no_better_than_its_worst_prompt(parts: list[tuple[str, bool | None]], partial: bool):
    """A prompt that is not the true one had a green page, whose headline said that it was recovered."""
    known = [Verdict(outcome) for outcome, _ in parts if outcome != "later"]
    verdict = Verdict.worst(known) if known else Verdict.RECOVERED
    entries = [
        prompt_entry(["x" if o in {"recovered", "later"} else None], outcome=o, matches_truth=t) for o, t in parts
    ]
    record = inversion_record(*entries, verdict=verdict)
    if partial:
        record = replace(record, result={"layer": 1, "partial": entries})
    right = sum(outcome == "recovered" and truth is not False for outcome, truth in parts)
    document = document_of([record])
    (chapter,) = document.chapters
    assert (document.tone is Tone.HOLDS) == (right == len(parts))
    assert document.tone is chapter.badge.tone is not Tone.NEUTRAL or "later" in dict(parts)
    wrong = parts.count(("recovered", False))
    assert (f"{count(wrong, 'prompt')} recovered wrongly" in " ".join(chapter.findings.broken)) == bool(wrong)
    assert ("was recovered" in document.headline or document.headline.startswith("All")) <= (right == len(parts))
    assert "not the true text" in document.headline or not wrong


def test_a_badge_counts_the_prompts_that_it_is_about():
    """Of 300 prompts of which one was lost the badge said "not found: 299 of 300 prompts"."""
    entries = [prompt_entry(["x"]), prompt_entry(["x"]), prompt_entry(["y", None], outcome="not_found")]
    (chapter,) = document_of([inversion_record(*entries, verdict=Verdict.NOT_FOUND)]).chapters
    assert chapter.badge.word == "not found: 1 of 3 prompts"


def test_one_that_came_back_does_not_cover_for_another_of_its_record():
    good, wrong = prompt_entry(["x"], matches_truth=True), prompt_entry(["y"], matches_truth=False)
    other = Record("fuzz", Verdict.HELD, {"examples": 3}, {"model": "tiny-gpt2"})
    document = document_of([inversion_record(good, wrong), other])
    assert document.headline.startswith("1 of 2 prompts came back") and document.tone is Tone.FAILS


@given(st.integers(SHOWN + 1, SHOWN + 9), st.data())
def test_of_very_many_tensors_those_that_no_convention_fits_are_shown(number_of: int, data: st.DataObject):
    """They were ranked by an `outcome`, which a diagnosis does not have: the only failure of 45 was left out."""
    (found,) = (one for one in stored_records() if one.result.get("policy") == "diagnose")
    fine = found.result["diagnosis"][0]
    bad = fine | {"cause": "no_convention_fits", "complete": False}
    kinds = [fine | {"complete": False}, fine | {"shared": True}, bad]
    worse = data.draw(st.dictionaries(st.integers(0, number_of - 1), st.sampled_from(kinds), max_size=SHOWN))
    entries = [worse.get(at, fine) for at in range(number_of)]
    record = replace(found, verdict=Verdict.UNDECIDED, result=found.result | {"diagnosis": entries})
    (chapter,) = chapters_of(record)
    shown = {block.title: block.badge for block in chapter.blocks if isinstance(block, Section)}
    assert len(shown) == SHOWN and {f"States {at}" for at in worse} <= {*shown}
    assert all((badge.tone is Tone.HOLDS) == (int(title.split()[1]) not in worse) for title, badge in shown.items())
    (told,) = (block.text for block in chapter.blocks if isinstance(block, Paragraph))
    assert told.startswith(f"{count(number_of - SHOWN, 'more tensor')} in the record")


def test_every_site_that_can_be_observed_has_a_name():
    assert NAMES.keys() == {name for name, find in FINDERS.items() if find.__module__.startswith("sipit.")}


@given(
    st.lists(st.sampled_from([*NAMES, "added-site"]), min_size=1, max_size=3, unique=True),
    st.sampled_from([None, 3, [3, 4], "final"]),
    st.sampled_from([None, 20]),
)
def test_a_page_names_what_was_observed_and_where(sites: list[str], layer: Any, top: int | None):
    """Log-probabilities were called hidden states "at layer –"."""
    record = inversion_record(prompt_entry(["x"]))
    entry = {"sites": sites, "layers": layer if isinstance(layer, list) else [layer] * (layer is not None), "top": top}
    glimpse = {"prompt": 0, "width": 64, "rows": [[0.5, -0.5]]}
    seen = {"layer": layer, "observation": entry}
    inverted = replace(record, result=record.result | seen | {"glimpse": glimpse})
    partial = replace(record, result={**seen, "partial": record.result["prompts"]})
    captured = Record("capture", Verdict.DONE, {**seen, "prompts": 1}, {})
    for one in (inverted, partial, captured):
        text = render([one], format="md").split("### Settings")[0]
        assert "layer –" not in text and ("hidden state" in text) <= bool({"residual", "centred"} & {*sites})
        assert NAMES.get(sites[0], (sites[0],) * 2)[1].lower() in text.lower()
        assert ("(the 20 largest)" in text) == (top is not None)
        assert (" at layer" in text) == (layer is not None)
    assert "at layers 3, 4" in text or layer != [3, 4]
    picture = document_of([inverted]).picture
    assert picture is not None and picture.head in picture.caption and f"each token's {picture.head}" in picture.note
