"""No placement says that exactly runs of one token collide where a run shows that others do."""

from typing import Any

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from sipit.claims.check import check_model, placed

WINDOW = 2
WORD = list(range(2, 12))  # longer than six windows of two tokens reach
FIRST = [0, *WORD, 12, *WORD, 13, *WORD]
SECOND = [0, *WORD, 13, *WORD, 12, *WORD]
SIZES = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2,
         "num_key_value_heads": 2, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
         "sliding_window": WINDOW, "max_position_embeddings": 64}  # fmt: skip


def one_state(config: Any) -> bool:
    """Whether a random network of double precision has one state for both prompts."""
    with torch.random.fork_rng(devices=()), torch.inference_mode():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        states = model.base_model(input_ids=torch.tensor([FIRST, SECOND]), use_cache=False)[0][:, -1]
    return bool((states[0] - states[1]).norm() < 1e-9 * states[0].norm())


@seed(0)
@settings(max_examples=12, deadline=None)
@given(
    full=st.lists(st.booleans(), max_size=5),
    rotary=st.one_of(st.none(), st.lists(st.booleans(), min_size=6, max_size=6)),
)
def test_what_is_said_of_mixed_stacks_is_so_in_a_run(full: list[bool], rotary: list[bool] | None) -> None:
    """Of Cohere 2 (no list of rotary layers) and SmolLM3."""
    kinds = ["full_attention" if one else "sliding_attention" for one in (*full, True)]
    changes: dict[str, Any] = {**SIZES, "layer_types": kinds, "num_hidden_layers": len(kinds)}
    if rotary is None:
        config = AutoConfig.for_model("cohere2", **changes)
    else:
        turned = [int(one) for one in rotary[: len(kinds)]]
        config = AutoConfig.for_model("smollm3", **changes, use_sliding_window=True, no_rope_layers=turned)
    said = placed(config, None, "relative", {"repeated tokens"})
    assert said is None or not one_state(config)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [4, 12])
def test_check_places_cohere_2_where_three_layers_see_everything(layers: int, tmp_path: Any) -> None:
    config = AutoConfig.for_model("cohere2", **{**SIZES, "num_hidden_layers": layers, "sliding_window": 48})
    config.save_pretrained(tmp_path)
    said = check_model(str(tmp_path)).result["classification"]
    assert (said is not None) == (layers == 12)
