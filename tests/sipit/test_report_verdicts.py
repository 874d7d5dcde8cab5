"""A page says of a verdict what it is: what is open is neither proved nor failed."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.evidence import Record
from proofs.recomputed.training_step import NOT_SHOWN, STATEMENT
from proofs.regularity import UNPROVED
from proofs.verdict import Verdict
from sipit.claims.fields import EQUAL, MEET
from sipit.quantization import verdict_of
from sipit.report.chapters.certificates import certificates_chapters
from sipit.report.chapters.quantization import quantization_chapter
from sipit.report.document import Badge, Chapter, Claim, Section, Tone
from sipit.report.page import chapters_of, document_of
from sipit.report.wording import count
from tests.sipit.report_records import stored_records

ENDS = {  # of the commands whose headline follows a verdict of three kinds, the two that are not open
    "check": (Verdict.PROVED, Verdict.REFUTED), "prove witness": (Verdict.PROVED, Verdict.REFUTED),
    "prove generic-position": (Verdict.PROVED, Verdict.REFUTED), "certify": (Verdict.SEPARATED, Verdict.COLLISION),
    "collide": (Verdict.SEPARATED, Verdict.COLLISION), "train": (Verdict.SEPARATED, Verdict.COLLISION),
    "audit": (Verdict.HELD, Verdict.REFUTED), "quantization": (Verdict.HELD, Verdict.VOID),
    "compare": (Verdict.ROUNDING, Verdict.NOT_ROUNDING),
}  # fmt: skip


@pytest.mark.parametrize(
    "record", [one for one in stored_records() if one.command in ENDS], ids=lambda one: one.command
)
def test_what_is_open_is_said_neither_to_hold_nor_to_fail(record: Record):
    """An undecided count of the witness had the headline that it "is not enough"."""
    verdicts = (*ENDS[record.command], Verdict.UNDECIDED)
    told: list[str] = []
    for verdict in verdicts:
        of_prompts = {"verdict": verdict.value} if "verdict" in record.result else {}  # of `collide`, searches apart
        told.append(chapters_of(replace(record, verdict=verdict, result=record.result | of_prompts))[0].headline)
    assert len({*told}) == len(told)


WHAT = {"rate": 100, "what": "a network of 184 parameters, on one sample and on a batch of 3,"}
STATE = " of parameters and state"


def step(*, proved: bool, rule: str = "gd", joint: str = "") -> Record:
    statement = (STATEMENT if proved else NOT_SHOWN).format(rule=rule, joint=joint, **WHAT)
    claim = {"statement": statement, "non_zero": proved}
    result = {
        "optimizer": rule, "rate": "100", "parameters": 184, "statement": statement, "follows": [], "open": [],
        "certificate": {"kind": "training-step", "claim": claim},
    }  # fmt: skip
    return Record("prove training-step", Verdict.PROVED if proved else Verdict.UNDECIDED, result)


def verified(record: Record) -> Record:
    certificate = record.result["certificate"]
    result = {"claim": certificate["claim"]["statement"], "facts": certificate["claim"], "kind": certificate["kind"],
              "of": record.command, "reason": "derived", "derived": [], "not_vouched_for": []}  # fmt: skip
    return Record("verify", Verdict.ACCEPTED, result, {"file": "step.json"})


def sentences(chapters: list[Chapter], claim: Claim | None) -> str:
    blocks = [block for one in chapters for section in one.blocks for block in getattr(section, "blocks", ())]
    told = [*(text for one in chapters for text in one.sentences), *blocks]
    return " ".join(one.text for one in told if hasattr(one, "text") and one.claim is claim)


@pytest.mark.parametrize(
    ("rule", "joint"),
    [("gd", ""), ("heavy-ball", STATE), ("adam", f"{STATE} with positive second moments"), ("sign", "")],
)
def test_what_follows_from_a_step_is_said_where_it_is_proved_and_of_what(rule: str, joint: str):
    """It stood beside an undecided step too, and of parameters alone where the law is of parameters and state."""
    chapters = chapters_of(step(proved=True, rule=rule, joint=joint))
    of = joint.removeprefix(" of ") or "parameters"
    assert f"maps no set of positive measure of {of} to a null set" in sentences(chapters, None)
    assert "does not vanish identically" in sentences(chapters, Claim.PROVED)
    left = chapters_of(step(proved=False, rule=rule, joint=joint))
    assert "null set" not in sentences(left, None)


def test_that_nothing_is_shown_is_not_called_proved():
    for proved in (True, False):
        record = step(proved=proved)
        checked = verified(record)
        for chapters in (chapters_of(record), certificates_chapters([record]), chapters_of(checked)):
            assert "It is not shown" not in sentences(chapters, Claim.PROVED)
            assert ("One step of gd" in sentences(chapters, Claim.PROVED)) is proved
        (findings,) = (one.findings for one in chapters_of(checked))
        assert (bool(findings.proved), bool(findings.undecided)) == (proved, not proved)


def budget(noise: float | None, margin: float | None) -> Record:
    layer = {"layer": 1, "margin": margin, "noise": {"bf16": noise}}
    return Record("certify", Verdict.UNDECIDED, {"noise_budget": {"prompts": 3, "layers": [layer]}})


@pytest.mark.parametrize(
    ("noise", "margin", "kind"),
    [(0.1, 1.0, "bounded"), (0.6, 1.0, "broken"), (None, 1.0, "undecided"), (0.1, None, "undecided")],
)
def test_noise_that_is_not_known_is_not_above_the_margin(noise: float | None, margin: float | None, kind: str):
    (found,) = (one.findings for one in chapters_of(budget(noise, margin)) if "bounded" in one.title)
    assert [name for name in ("bounded", "broken", "undecided") if getattr(found, name)] == [kind]


@pytest.mark.parametrize(("verdict", "proved"), [(Verdict.UNDECIDED, False), (Verdict.REFUTED, True)])
def test_a_network_of_no_class_may_still_be_refuted(verdict: Verdict, proved: bool):
    """By a witness of its own, or by prompts that collide; that no class is proved is no proof."""
    facts = {"regularity": str(UNPROVED)}
    shown = {"claim": "It is so.", "kind": "regularity", "facts": facts, "verdict": str(verdict)}
    (chapter,) = chapters_of(Record("verify", Verdict.ACCEPTED, {**shown, "of": "check", "reason": "of a line"}))
    assert bool(chapter.findings.proved) is proved is not bool(chapter.findings.undecided)
    families = [{"kind": "repeated tokens"}] if proved else []
    certificate = {"kind": "regularity", "claim": {**facts, "statement": "It is so."}}
    record = Record("check", verdict, {"certificate": {**certificate, "structural_collisions": families}})
    assert ("It is so." in sentences(certificates_chapters([record]), Claim.PROVED)) is proved


FINE = {"reason": None, "ran_here": True, "first_layer_void": None, "wrong": 0, "collisions": 0}
OPEN = {"reason": "its captures differ", "collisions": None}
BREAKING = ({"first_layer_void": 1}, {"wrong": 2}, {"collisions": 3}, {"reason": "not finite", "first_layer_void": 2})


@given(st.lists(st.sampled_from([{}, *BREAKING, OPEN, OPEN | {"ran_here": False}]), min_size=1), st.booleans())
def test_the_badge_of_a_study_names_the_formats_that_its_verdict_is_about(kinds: list[dict[str, Any]], named: bool):
    """Where states overflow alone, the formats that held were counted as void."""
    formats = [{"format": f"f{at}", **FINE, **kind} for at, kind in enumerate(kinds)]
    result = {"formats": formats, "formats_named": named}
    verdict = verdict_of(result)
    word = quantization_chapter(Record("quantization", verdict, result, {}, 1.0)).badge.word
    breaking = [one["format"] for one, kind in zip(formats, kinds, strict=True) if kind in BREAKING]
    if verdict is Verdict.HELD:
        assert word == f"held: {count(sum(one['reason'] is None for one in formats), 'format')}"
        return
    about = word.removeprefix(f"{verdict}: ").split(", ")
    if verdict is Verdict.VOID:
        assert about == breaking
        return
    rest = [one for one in formats if one["format"] not in about]
    assert not rest or verdict_of({"formats": rest, "formats_named": named}) is Verdict.HELD


@pytest.mark.parametrize("verdict", [one for one in Verdict if one.exit_status])
def test_no_page_of_a_failure_or_an_open_answer_says_that_nothing_broke_or_was_left_open(verdict: Verdict):
    """Beside the badge "undecided" stood "nothing was left open", on pages of seven commands."""
    for record in stored_records():
        document = document_of([replace(record, verdict=verdict)])
        assert document.verdict[2].tone is not Tone.NEUTRAL
        findings = chapters_of(replace(record, verdict=verdict))[0].findings
        assert findings.broken if verdict.exit_status == 1 else findings.undecided, record.command


def test_what_stays_open_of_a_leak_is_how_often_prompts_are_read():
    leak = next(one for one in stored_records() if one.command == "leak")
    few = "a rate needs 2 different prompts, and there is 1"
    (chapter,) = chapters_of(replace(leak, verdict=Verdict.UNDECIDED, result=leak.result | {"reason": few}))
    assert chapter.findings.undecided == (f"how often whole prompts of tiny-gpt2 are read, since {few}",)
    assert chapters_of(leak)[0].findings.undecided == ()


def test_rows_that_several_tokens_share_are_open():
    found = next(one for one in stored_records() if one.result.get("policy") == "diagnose")
    entry = found.result["diagnosis"][0] | {"shared": True}
    shared = replace(found, verdict=Verdict.AMBIGUOUS, result=found.result | {"diagnosis": [entry]})
    (chapter,) = chapters_of(shared)
    assert "tokens with one embedding row" in chapter.findings.undecided[0] and chapter.findings.undecided[0] in (
        chapter.headline
    )
    (section,) = (block for block in chapter.blocks if isinstance(block, Section))
    assert section.badge == Badge("plain states, ambiguous", Tone.OPEN)


@given(st.lists(st.sampled_from([None, EQUAL, MEET])), st.integers(0, 3))
def test_pairs_that_are_equal_are_not_counted_with_those_that_are_open(kinds: list[str | None], more: int):
    """Of a pair whose enclosures meet it was said that it is equal, where another one was."""
    listed = [{"first": 0, "second": 1, "reason": kind} for kind in kinds if kind is not None]
    certified, equal, left = kinds.count(None), kinds.count(EQUAL), kinds.count(MEET) + more
    verdict = Verdict.COLLISION if equal else Verdict.UNDECIDED if left else Verdict.SEPARATED
    result = {"pairs": len(kinds) + more, "certified": certified, "uncertified": listed, "layer": 1}
    chapter = chapters_of(Record("certify", verdict, result))[0]
    assert [re.match(r"\d+", one)[0] for one in chapter.findings.broken] == [str(equal)] * bool(equal)
    assert [re.match(r"\d+", one)[0] for one in chapter.findings.undecided] == [str(left)] * bool(left)
    assert ("equal" in chapter.headline) == bool(equal) and ("open" in chapter.headline) == bool(left)


def test_equal_tokens_are_counted_where_no_record_lists_all_their_pairs():
    result = {"pairs": 10, "certified": 3, "uncertified": [{"reason": EQUAL}], "duplicates": [[0, 1, 2, 3]], "layer": 1}
    (chapter,) = chapters_of(Record("certify", Verdict.UNDECIDED, result))
    assert "6 are equal and 1 stays open" in chapter.headline


@given(st.booleans(), st.booleans(), st.booleans())
def test_a_collision_does_not_outweigh_pairs_that_were_left_unexamined(left: bool, searched: bool, beside: bool):
    layers = [{"layer": 1, "unexamined": 0}, {"layer": 2, "unexamined": 7 * left}]
    search = {"verdict": Verdict.COLLISION if beside else Verdict.SEPARATED, "layers": [{"unexamined": 2 * searched}]}
    result = {"verdict": "collision", "prompts": 9, "layers": layers, "searches": {"swaps": search}}
    (chapter,) = chapters_of(Record("collide", Verdict.COLLISION, result))
    assert [("further" in one, "swaps" in one) for one in chapter.findings.undecided] == (
        [(True, False)] * left + [(False, True)] * searched
    )
    assert ("further close pairs were left unexamined" in chapter.headline) == left


def searched(known: int, confirmed: int, refused: int, left: int) -> dict[str, Any]:
    """A layer of `collide`: pairs known to collide, and close ones that were confirmed, were not, and were not run."""
    outside = {"below_threshold": confirmed + refused + left}
    return {"known_to_collide": {"pairs": known}, "outside": outside, "not_confirmed": [{}] * refused,
            "listed": min(known + confirmed, 100), "unexamined": left, "bit_identical": known}  # fmt: skip


COUNTS = st.integers(0, 300)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS, st.sampled_from([0, 0, 5])), min_size=1, max_size=3))
def test_a_badge_counts_all_pairs_that_collide_and_not_those_that_are_listed(found: list[tuple[int, int, int, int]]):
    """Of 4,950 pairs that are known to collide the badge counted the 100 that a record lists."""
    layers = [searched(*one) | {"layer": at} for at, one in enumerate(found)]
    hits = [{"layer": at, "first": n, "second": n + 1} for at, one in enumerate(layers) for n in range(one["listed"])]
    result = {"verdict": "collision", "prompts": 900, "layers": layers, "collisions": hits}
    (chapter,) = chapters_of(Record("collide", Verdict.COLLISION, result))
    most = max(known + confirmed for known, confirmed, *_ in found)
    at = next(at for at, (known, confirmed, *_) in enumerate(found) if known + confirmed == most)
    *_, left = found[at]
    least = "at least " if left else ""
    said = f"{least}{count(most, 'pair')} at layer {at}" if most else "among 900 prompts"
    assert chapter.badge == Badge(f"collision: {said}", Tone.FAILS)
