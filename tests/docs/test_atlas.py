"""The atlas: what is kept is not examined again, the page is that of the store, and what the store has to show."""

import importlib
import json
from types import SimpleNamespace

import pytest

from proofs.errors import Unsupported
from tests.docs.blocks import ROOT

STORE = ROOT / "docs" / "atlas.jsonl"
NAMES = ["first", "second", "third"]


@pytest.fixture
def atlas(monkeypatch):
    """The modules of the script, which lie beside one another in `docs`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return SimpleNamespace(
        script=importlib.import_module("make_atlas"),
        parts=importlib.import_module("atlas_parts"),
        page=importlib.import_module("atlas_page"),
    )


@pytest.fixture
def examined(atlas, monkeypatch):
    """What the script examines, in turn; nothing is really built."""
    seen: list[tuple[str, str]] = []

    def run(part, name, _limit):
        seen.append((name, part))
        return {"failure": "refused", "reason": "a test", "made_with": atlas.parts.made_with(part), "seconds": 0.1}

    monkeypatch.setattr(atlas.script, "run", run)
    monkeypatch.setattr(atlas.script, "names", lambda: NAMES)
    return seen


def fill(atlas, store, *options):
    atlas.script.main(["--store", str(store), *options])


def lines_of(store):
    return [json.loads(line) for line in store.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["regularity", "collisions", "inversion"])
def test_every_part_of_a_line_can_be_made(atlas, part):
    found = atlas.parts.examine(part, "gpt2")
    assert (found.get("failure"), found.get("reason")) == (None, None)
    kept = next(line for line in lines_of(STORE) if line["name"] == "gpt2")[part]
    assert {**found, "seconds": 0, "made_with": None} == {**kept, "seconds": 0, "made_with": None}


def test_what_is_kept_is_not_examined_again(atlas, examined, tmp_path):
    store = tmp_path / "atlas.jsonl"
    fill(atlas, store)
    assert examined == [(name, part) for name in NAMES for part in atlas.parts.PARTS]
    examined.clear()
    fill(atlas, store)
    assert examined == []
    assert store.with_suffix(".md").read_text() == atlas.page.page(lines_of(store))


@pytest.mark.parametrize("part", ["regularity", "inversion"])
@pytest.mark.parametrize("change", [{"transformers": "5.0.0"}, {"torch": "2.6.0"}, {"tokens": [8]}])
def test_what_was_made_with_something_else_is_examined_again(atlas, examined, tmp_path, part, change):
    store = tmp_path / "atlas.jsonl"
    fill(atlas, store)
    lines = lines_of(store)
    lines[1][part]["made_with"] |= change
    store.write_text("".join(json.dumps(line) + "\n" for line in lines))
    examined.clear()
    fill(atlas, store)
    assert examined == [("second", part)]


def test_a_run_that_was_stopped_is_gone_on_with(atlas, examined, tmp_path, monkeypatch):
    store, working = tmp_path / "atlas.jsonl", atlas.script.run

    def stopped(part, name, limit):
        if (name, part) == ("second", "inversion"):
            raise KeyboardInterrupt
        return working(part, name, limit)

    monkeypatch.setattr(atlas.script, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(atlas, store)
    monkeypatch.setattr(atlas.script, "run", working)
    examined.clear()
    fill(atlas, store)
    assert examined == [("second", "inversion"), *(("third", part) for part in atlas.parts.PARTS)]


def test_named_ones_and_parts_are_examined_again_alone(atlas, examined, tmp_path):
    store = tmp_path / "atlas.jsonl"
    fill(atlas, store)
    examined.clear()
    fill(atlas, store, "--part", "inversion", "third", "first")
    assert examined == [("third", "inversion"), ("first", "inversion")]


def test_the_page_shows_each_outcome_and_each_reason(atlas):
    made = {"made_with": {"torch": "2", "transformers": "5", "tokens": [3]}, "seconds": 1.0}
    proved = {"class": "C1", "obstruction": "relu at a.py:3", "witness": "not analytic", "positions": "relative",
              "conditions": 2, "blocks": 1} | made  # fmt: skip
    body = {"architecture": "Some", "blocks": 2, "abilities": {"mask": "m", "padding": ["left", "right"]}} | made
    placed = {"without_bos": "exactly runs", "by": "docs/classification.md, Some section"}
    shown = {"families": {"repeated tokens": ["A.b", "C.d"], "window reach": ["E.f"]}, "classification": placed} | made
    good, bad = ({"outcome": outcome, "reason": reason} for outcome, reason in [("recovered", None), ("wrong", "a|b")])
    text = atlas.page.page(
        [
            {"name": "both", "regularity": proved, "collisions": shown,
             "inversion": {**body, "middle": good, "final": good}},
            {"name": "one", "regularity": proved, "collisions": {"families": {}, "classification": None} | made,
             "inversion": {**body, "middle": good, "final": bad}},
            {"name": "none", "regularity": {"failure": "refused", "reason": "untraceable"} | made,
             "inversion": {"failure": "refused", "reason": "two streams"} | made},
            {"name": "never", "regularity": {"failure": "fault", "reason": "KeyError: 3"} | made,
             "inversion": {"failure": "not built", "reason": "no sizes"} | made},
        ]
    )  # fmt: skip
    assert "Examined: 4 model types, with transformers 5 and torch 2." in text
    assert "2 of 2 that are captured have a\ndefinite verdict" in text
    assert "Of 3 whose small copy builds, 2 are recovered at the middle\nlayer, 1 at `final`, 1 at both." in text
    assert "| one | Some | 2 | recovered | wrong |  | yes |  | left and right |  | 1.0 |" in text
    for row in ["one | final | wrong | a/b", "none | everywhere | refused | two streams", "never | no sizes",
                "never | KeyError: 3", "none | untraceable",
                "both | repeated tokens | `A.b`, `C.d` | exactly runs | Some section", "one | none found |  |  | ",
                " | window reach | `E.f` |  | "]:  # fmt: skip
        assert f"| {row} |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| both")}
    assert widths == {9, 6, 12}
    assert "Looked at: 2 of 4." in text


@pytest.mark.parametrize(
    ("name", "abilities"), [("gpt2", {"memory", "mask", "positions", "packing"}), ("mamba", {"memory", "mask"})]
)
def test_a_small_copy_is_inverted_at_both_places(atlas, name, abilities):
    found = atlas.parts.examine("inversion", name)
    assert [found[place]["outcome"] for place in ("middle", "final")] == ["recovered", "recovered"]
    assert {key for key in ("memory", "mask", "positions", "packing") if found["abilities"][key]} == abilities
    assert found["made_with"] == atlas.parts.made_with("inversion")


@pytest.mark.parametrize(
    ("name", "failure", "reason"),
    [("xlnet", "refused", "one state per token"), ("musicgen", "not built", "several")],
)
def test_a_class_that_is_not_inverted_comes_with_the_reason(atlas, name, failure, reason):
    found = atlas.parts.examine("inversion", name)
    assert found["failure"] == failure
    assert reason in found["reason"]


def test_what_goes_wrong_is_told_from_what_is_refused(atlas, monkeypatch):
    def raising(error):
        def part(_name):
            raise error

        return part

    for error, failure in [(Unsupported("no blocks"), "refused"), (ZeroDivisionError("by\nzero"), "fault")]:
        monkeypatch.setitem(atlas.parts.PARTS, "inversion", raising(error))
        found = atlas.parts.examine("inversion", "gpt2")
        assert (found["failure"], "\n" in found["reason"]) == (failure, False)


def test_another_answer_than_the_prompt_is_wrong(atlas, monkeypatch):
    import sipit

    invert = sipit.invert
    monkeypatch.setattr(sipit, "invert", lambda *given: list(reversed(invert(*given))))
    assert atlas.parts.examine("inversion", "gpt2")["final"]["outcome"] == "wrong"


@pytest.mark.slow
def test_an_architecture_that_takes_too_long_is_given_up(atlas):
    found = atlas.script.run("regularity", "afmoe", 1)
    assert (found["failure"], found["reason"]) == ("refused", "no answer within 1 s of computing")


def test_the_page_is_the_one_of_the_store(atlas):
    assert STORE.with_suffix(".md").read_text() == atlas.page.page(lines_of(STORE))


def test_nine_in_ten_classes_that_build_are_recovered_and_the_rest_has_its_reason():
    built = [line["inversion"] for line in lines_of(STORE) if line["inversion"].get("failure") != "not built"]
    ends = [[part.get(place, part) for place in ("middle", "final")] for part in built]
    recovered = [all(end.get("outcome") == "recovered" for end in pair) for pair in ends]
    assert sum(recovered) >= 0.9 * len(built)
    others = [end for pair in ends for end in pair if end.get("outcome") != "recovered"]
    assert all((end.get("outcome") or end["failure"]) not in ("wrong", "fault") and end["reason"] for end in others)
