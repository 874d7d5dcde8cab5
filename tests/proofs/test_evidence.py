"""Records: strict JSON, back and forth without loss, written whole or not at all; verdicts and their exit status."""

import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
from proofs.evidence import SCHEMA, Record, is_record, read_record, write_atomically
from proofs.verdict import Verdict

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda kids: st.lists(kids, max_size=3) | st.dictionaries(st.text(max_size=3), kids, max_size=3),
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
RECORDS = st.builds(
    Record,
    command=st.text(max_size=5),
    verdict=st.sampled_from(Verdict),
    result=OBJECTS,
    provenance=OBJECTS,
    seconds=st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000),
)
WHOLE = Record("invert", Verdict.RECOVERED, {"layer": 1}, {"seed": 0}, 1.5).to_json()


@given(RECORDS)
def test_a_record_comes_back_equal(tmp_path, record):
    path = tmp_path / "record.json"
    write_atomically(path, record.dumps().encode())
    assert read_record(path) == record and is_record(path)
    assert Record.from_json(json.loads(record.dumps())) == record


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_record_is_strict_json(value):
    with pytest.raises(ValueError, match="JSON"):
        Record("x", Verdict.DONE, {"value": value}).dumps()


WRONG = {
    "command": [None, 3, [], {}],
    "verdict": [None, 3, [], {}, "maybe", "RECOVERED"],
    "result": [None, 3, [], "?"],
    "provenance": [None, 3, [], "?"],
    "seconds": [None, [], {}, "1.5", True, False, -1, -0.5, 10**400, float("inf"), float("nan")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_field_is_named(name, value):
    with pytest.raises(InvalidInput, match=name):
        Record.from_json({**WHOLE, name: value})


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_missing_field_is_named(name):
    with pytest.raises(InvalidInput, match=name):
        Record.from_json({key: value for key, value in WHOLE.items() if key != name})


@pytest.mark.parametrize("data", [None, [], "record", 3, {}, {"schema": "sipit/1"}, {**WHOLE, "schema": None}])
def test_another_schema_is_refused(data):
    with pytest.raises(InvalidInput, match=SCHEMA):
        Record.from_json(data)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "1" + 400 * "0" + ".0", "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["seconds", "result", "provenance"])
def test_a_number_that_no_float_is_is_refused_wherever_it_stands(tmp_path, name, value):
    path = tmp_path / "record.json"
    held = {"seconds": "#", "result": {"a": ["#"]}, "provenance": {"a": "#"}}[name]
    path.write_text(json.dumps({**WHOLE, name: held}).replace('"#"', value))
    with pytest.raises(InvalidInput, match=r"but .* is not"):
        read_record(path)


@given(st.binary(max_size=60))
def test_any_file_is_a_record_or_refused(tmp_path, content):
    path = tmp_path / "any.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        read_record(path)


def test_deep_nesting_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    for bad in (path, tmp_path / "none.json", tmp_path):
        with pytest.raises(InvalidInput):
            read_record(bad)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("proofs.evidence.LARGEST_RECORD", 10)
    path = tmp_path / "large.json"
    path.write_text(json.dumps(WHOLE))
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        read_record(path)


# Writing.


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InvalidInput, match="No space left"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "record.json", b"content")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="choose another"):
        write_atomically(tmp_path / "none" / "record.json", b"")


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path):
    before = os.umask(0o022)
    try:
        path = tmp_path / "record.json"
        write_atomically(path, b"x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        os.umask(before)


# Verdicts and errors.

STATUS = {
    0: {"proved", "accepted", "recovered", "separated", "held", "done", "ok", "rounding"},
    1: {"refuted", "rejected", "collision", "not_found", "void", "broken", "not_rounding"},
    3: {"undecided", "ambiguous", "budget_exhausted", "degraded", "accepted_sampled"},
}


def test_every_verdict_has_its_exit_status():
    assert {v.value: v.exit_status for v in Verdict} == {name: code for code, names in STATUS.items() for name in names}


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_over_several_any_no_gives_no_else_any_open_gives_open(verdicts):
    codes = {verdict.exit_status for verdict in verdicts}
    expected = 1 if 1 in codes else 3 if 3 in codes else 0
    worst = Verdict.worst(verdicts)
    assert worst in verdicts
    assert worst.exit_status == expected
    assert worst is next(verdict for verdict in verdicts if verdict.exit_status == expected)


def test_no_verdicts_have_no_worst():
    with pytest.raises(ValueError, match="at least one"):
        Verdict.worst([])


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(InvalidInput, ValueError), (Unsupported, NotImplementedError), (MissingResource, LookupError)],
)
def test_misuse_is_also_its_natural_builtin(kind, builtin):
    assert issubclass(kind, SipitError)
    assert issubclass(kind, builtin)
