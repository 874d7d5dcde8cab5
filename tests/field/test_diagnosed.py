"""What a diagnosis says of states with rows that are missing, there twice, or of something else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from sipit.diagnosis.conventions import diagnose
from tests.field.places import assert_refused, called
from tests.sipit.cases import random_prompts, rest_slow, tiny

IDS = [65, 66, 200, 67, 300, 68]
CONTEXT = 128  # of the tiny models


@pytest.fixture(scope="module")
def whole():
    """The rows of a prompt, and behind them two that are of none."""
    states = sipit.capture(tiny("llama"), [IDS], layer=1)[0]
    other = torch.randn(2, states.shape[1], generator=torch.Generator().manual_seed(0)) * states.std()
    return torch.cat([states, other])


def assert_true_of(rows, found):
    """The rows that are named are those of the tokens in that order, and what is said fits them."""
    said = " ".join(found.sentences())
    order = [*range(found.skipped, found.skipped + found.verified)] if found.order is None else [*found.order]
    if order:
        again = sipit.capture(tiny("llama"), [list(found.token_ids)], layer=1)[0]
        torch.testing.assert_close(again, rows[order], rtol=1e-4, atol=1e-5)
    assert ("out of order" in said) == (order != sorted(order)), said
    assert ("the others are not explained" in said) == (0 < found.verified < len(rows)), said
    if order == [*range(len(order))] and order:
        assert "another convention" not in said, said


@pytest.mark.parametrize("chosen", rest_slow((0, 1, 1, 2, 3, 4, 5), (2, 0, 1, 3, 5), of=[
    (0, 1, 3, 4, 5), (0, 1, 1, 2, 3, 4, 5), (0, 1, 2, 6, 7, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6, 7), (2, 0, 1, 3, 5), (6, 7),
    (0, 6, 1, 2, 3, 4, 5),
]))  # fmt: skip
def test_what_is_said_of_rows_fits_them(whole, chosen):
    rows = whole[list(chosen)]
    assert_true_of(rows, diagnose(tiny("llama"), rows, claimed=None))


@pytest.mark.slow
@settings(max_examples=40)
@given(chosen=st.lists(st.integers(0, 7), min_size=1, max_size=9))
def test_whatever_rows_there_are_what_is_said_fits_them(whole, chosen):
    found = diagnose(tiny("llama"), whole[chosen], claimed=None)
    if not found.chunks and not found.start.known:  # rows of runs of their own, which these may look like
        assert_true_of(whole[chosen], found)


def test_a_layer_that_nobody_named_is_not_named(whole, tmp_path):
    save_file({"p": whole[:6].contiguous()}, tmp_path / "s.safetensors")
    _, _, err = called("invert", "tiny-llama", "--states", tmp_path / "s.safetensors", "--diagnose")
    assert "read as a layer that is not named:" in err


def _junk(rows, seed=0):
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(seed))


# What stands before the prompt and behind it, how long that is, and how many of its tokens are known.
TOO_MANY = {
    "behind": (0, 40, 160, 0), "in front": (3, 128, 0, 0), "around": (60, 40, 100, 0), "full": (0, 128, 5, 0),
    "known": (0, 128, 3, 30), "all known": (0, 128, 0, 127),
}  # fmt: skip


@pytest.mark.parametrize("kind", rest_slow("behind", "all known", of=TOO_MANY))
def test_more_rows_than_the_model_has_positions_are_diagnosed(kind):
    """Learned positions end: a row that stands behind the last is run at none."""
    front, length, behind, known = TOO_MANY[kind]
    model, ids = tiny("gpt2"), random_prompts(1, longest=length, shortest=length, seed=2)[0]
    states = sipit.capture(model, [ids], layer=1)[0][known:]
    rows = torch.cat([_junk(front), states, _junk(behind, seed=1)])
    found = diagnose(model, rows, claimed=1, known=tuple(ids[:known]) or None)
    assert (found.skipped, found.verified, list(found.token_ids)) == (front, length - known, ids[known:])


def test_runs_one_behind_the_other_may_have_more_rows_than_positions():
    model, ids = tiny("gpt2"), random_prompts(1, longest=CONTEXT, shortest=CONTEXT, seed=2)[0]
    states = sipit.capture(model, [ids], layer=1)[0]
    found = diagnose(model, torch.cat([states, states[:72]]), claimed=1)
    assert (found.verified, [chunk.row for chunk in found.chunks]) == (CONTEXT + 72, [CONTEXT])


def test_known_tokens_without_room_for_a_row_are_refused(tmp_path):
    save_file({"p": _junk(3)}, tmp_path / "s.safetensors")
    line = ["--states", tmp_path / "s.safetensors", "--layer", 1, "--diagnose", "--prefix", str([5] * CONTEXT)]
    assert_refused(called("invert", "tiny-gpt2", *line), "128 positions")


def test_more_rows_of_none_than_positions_end_with_a_record(tmp_path):
    save_file({"h": _junk(200)[None]}, tmp_path / "s.safetensors")
    status, _, err = called("invert", "tiny-gpt2", "--states", tmp_path / "s.safetensors", "--layer", 1, "--diagnose")
    assert status == 3 and "beyond the 128" not in err  # nothing was run there
