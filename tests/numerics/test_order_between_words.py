"""Order that a lone layer without positions does not see: of two tokens with the same words around them."""

from typing import Any

import pytest
from transformers import AutoConfig

from numerics.graphs.windows import sees_order

SIZES = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 64, "num_attention_heads": 2,
         "num_key_value_heads": 2, "sliding_window": 48, "max_position_embeddings": 512, "pad_token_id": None,
         "bos_token_id": None, "eos_token_id": None}  # fmt: skip
SLIDING, FULL = "sliding_attention", "full_attention"


def granite(kinds: list[str], turned: list[float]) -> Any:
    """A sink in every layer: no prompts of one repeated token collide."""
    return AutoConfig.for_model(
        "granite_swa", **SIZES, num_hidden_layers=len(kinds), layer_types=kinds, layer_rope_theta=turned
    )


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (granite([SLIDING, FULL], [1e4, 0]), False),  # windows before a layer that counts
        (granite([FULL, SLIDING], [0, 1e4]), False),  # and behind one
        (granite([SLIDING, SLIDING, FULL], [1e4, 0, 0]), False),
        (granite([SLIDING, FULL], [1e4, 1e4]), True),
        (granite([SLIDING, FULL] * 2, [1e4, 0] * 2), True),  # two layers that count
        (AutoConfig.for_model("cohere2", **SIZES, num_hidden_layers=4), False),
        (AutoConfig.for_model("cohere2", **SIZES, num_hidden_layers=8), True),
    ],
    ids=["before", "behind", "twice before", "rotary", "two", "cohere2, one", "cohere2, two"],
)
def test_the_order_of_two_tokens_is_seen_exactly_where_some_layers_look_at_it(config: Any, seen: bool) -> None:
    assert sees_order(config) is seen
