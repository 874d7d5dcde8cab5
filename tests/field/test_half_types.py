"""A model in a half type is what the library loads in it: rotations by whole frequencies, routers in float32."""

import pytest
import torch
import transformers as tf

import sipit
from sipit.models.copies import in_dtype
from tests.field.models import COMMON, drawn_ids, llama, plain
from tests.sipit.folders import drawn, save

MIXED = {
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 0, "kv_lora_rank": 16, "q_lora_rank": None, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 16, "num_key_value_heads": 4,
}  # fmt: skip
MAKERS = {
    "llama": llama,
    "gpt2": lambda: drawn(lambda: tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=4))),
    "hunyuan": lambda: drawn(lambda: tf.AutoModelForCausalLM.from_config(tf.AutoConfig.for_model(
        "hunyuan_v1_moe", **COMMON, head_dim=16, num_experts=4, moe_topk=2, pad_token_id=0))),
    "deepseek": lambda: drawn(lambda: tf.DeepseekV3ForCausalLM(tf.DeepseekV3Config(**COMMON | MIXED))),
}  # fmt: skip


def types_of(model):
    return {name: one.dtype for name, one in (*model.module.named_parameters(), *model.module.named_buffers())}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MAKERS)
def test_captures_in_a_half_type_are_those_of_plain_runs(name, dtype, tmp_path):
    folder = save(MAKERS[name](), tmp_path)
    ids = drawn_ids(100, seed=1)
    expected = plain(folder, ids, dtype=dtype)[1]
    loaded = sipit.load_model(folder, dtype=dtype)
    assert torch.equal(sipit.capture(loaded, [ids], layer=1)[0], expected)
    brought = in_dtype(sipit.load_model(folder), dtype)  # as number formats are compared
    theirs = loaded.module.state_dict()
    assert all(torch.equal(one, theirs[name]) for name, one in brought.module.state_dict().items())
    assert all(map(torch.equal, brought.module.buffers(), loaded.module.buffers()))
    assert types_of(in_dtype(in_dtype(loaded, torch.float64), dtype)) == types_of(brought) == types_of(loaded)


def test_long_prompts_come_back_from_states_in_bfloat16(tmp_path):
    folder = save(llama(max_position_embeddings=512), tmp_path)
    ids = drawn_ids(160, seed=2)
    (found,) = sipit.invert(sipit.load_model(folder), sipit.States((plain(folder, ids, dtype=torch.bfloat16)[1],), 1))
    assert found.token_ids == ids
