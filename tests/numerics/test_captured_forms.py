"""Networks that are no plain stacks of blocks are not captured as if they were: loops, states the other way around."""

from typing import Any

import pytest
from transformers import AutoConfig

from numerics.graphs.capture import capture_graph
from numerics.graphs.small_graphs import sees_later_tokens
from numerics.networks.shrinking import small_copy
from proofs import Unsupported


def small(name: str, **fields: Any) -> Any:
    return small_copy(AutoConfig.for_model(name, **fields))


def test_a_block_that_runs_more_than_once_has_no_one_state() -> None:
    with pytest.raises(Unsupported, match="runs block 2 of them 6 times"):
        capture_graph(small("hrm_text"))


def test_states_whose_first_axis_is_that_of_the_tokens_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"shape \(1, 7, width\), but got \(7, 1, 32\)"):
        capture_graph(small("xlnet", attn_type="uni"), length=7)


@pytest.mark.parametrize("mixed", [True, False])
def test_later_tokens_are_looked_for_in_every_state(mixed: bool) -> None:
    """The experts of a Doge are chosen by the logits of several tokens, of which the first state sees not the last."""
    assert sees_later_tokens(capture_graph(small("doge", is_moe=mixed), length=7)) is mixed


def test_the_windows_of_a_small_copy_are_narrow_where_the_class_makes_them_of_another_number() -> None:
    assert small("modernbert-decoder").sliding_window == 8
