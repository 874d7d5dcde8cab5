"""What a diagnosis says of states with rows that are missing, there twice, or of something else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from sipit.diagnosis.conventions import diagnose
from tests.field.places import called
from tests.sipit.cases import rest_slow, tiny

IDS = [65, 66, 200, 67, 300, 68]


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
