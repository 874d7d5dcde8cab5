"""A record names a theorem where what it rests on was found, and not beside."""

import json

import pytest

from sipit.claims.verify import verify_record
from tests.field.places import called


def theorems(tmp_path, *arguments):
    path = tmp_path / "record.json"
    called("prove", *arguments, "-o", path)
    assert verify_record(path).verdict == "accepted"
    return {one["theorem"].partition(".")[2] for one in json.loads(path.read_text())["result"]["theorems"]}


@pytest.mark.parametrize(("context", "gap"), [(1, False), (2, True)])
def test_the_published_witness_fails_where_a_pair_is_in_its_gap(tmp_path, context, gap):
    found = theorems(tmp_path, "witness", "--context", context, "--vocabulary", 2)
    in_gap = {"published_witness_gap", "published_witness_fails_on_two_tokens"}
    assert found & in_gap == (in_gap if gap else set())
    assert ("repaired_witness" in found) is gap  # of single tokens none ends alike and differs before


@pytest.mark.parametrize(("rate", "named"), [("100", False), pytest.param("1/10", True, marks=pytest.mark.slow)])
def test_weight_decay_that_keeps_nothing_is_no_instance(tmp_path, rate, named):
    found = theorems(tmp_path, "training-step", "--optimizer", "weight-decay", "--rate", rate)
    assert ("weight_decay_det" in found) is named
