"""A model in a half type is what the library loads in it: rotations by whole frequencies, routers in float32.

What a class rounds by itself, such as the scale of its embeddings, is rounding; what somebody else has, is not.
"""

import pytest
import torch
import transformers as tf

import sipit
from numerics.networks.casting import cast_copy
from numerics.networks.shrinking import small_copy
from proofs.verdict import Verdict
from sipit.models.copies import in_dtype
from sipit.privacy.comparison import compare_runs
from tests.field.models import COMMON, drawn_ids, llama, plain
from tests.sipit.cases import rest_slow
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
# What their classes make in the half type beside the weights: scales, a table of positions, a mask, parameters.
MADE = ["gemma3_text", "gemma3n_text", "recurrent_gemma", "falcon_h1", "falcon_mamba", "xglm", "openai-gpt", "apertus"]
ROUNDING = ["ctrl", "gemma3_text", "gemma3n_text", "vaultgemma", "minimax"]
PROMPTS = [[5, 9, 3, 60, 17, 33, 8, 2, 61, 40], [4, 4, 7]]


def small(name):
    """A folder's worth of a family: a small copy of its configuration with parameters that are drawn."""
    return drawn(lambda: tf.AutoModelForCausalLM.from_config(small_copy(tf.AutoConfig.for_model(name))))


def types_of(model):
    return {name: one.dtype for name, one in (*model.module.named_parameters(), *model.module.named_buffers())}


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
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


def assert_brought_as_loaded(name, folder, dtype):
    loaded, whole = sipit.load_model(folder, dtype=dtype), sipit.load_model(folder)
    theirs = dict((*loaded.module.named_parameters(), *loaded.module.named_buffers()))
    brought = cast_copy(whole.module, dtype)
    for key, tensor in (*brought.named_parameters(), *brought.named_buffers()):
        if not (name == "ctrl" and key.endswith("pos_encoding")):  # its class rounds it when it is first run
            assert tensor.dtype == theirs[key].dtype, key
            assert torch.equal(tensor, theirs[key]), key
    in_dtype(whole, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", rest_slow(*list(MADE)[::2], of=MADE))
def test_a_model_that_is_brought_to_a_half_type_is_the_one_that_is_loaded_in_it(name, dtype, tmp_path):
    assert_brought_as_loaded(name, save(small(name), tmp_path, tokenizer=None), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(tf.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_every_class_is_brought_to_a_half_type_as_the_library_loads_it(name, tmp_path):
    try:
        folder = save(small(name), tmp_path, tokenizer=None)
        sipit.load_model(folder, dtype="bfloat16")
    except Exception as error:  # noqa: BLE001 - some classes take no small sizes, and say so in every way
        pytest.skip(f"there is no small {name} to load: {error}")
    assert_brought_as_loaded(name, folder, torch.bfloat16)


@pytest.mark.parametrize("name", rest_slow("ctrl", of=ROUNDING))
def test_what_a_class_rounds_by_itself_is_rounding(name, tmp_path):
    folder = save(small(name), tmp_path, tokenizer=None)
    for first, second in [("float32", "bfloat16"), ("float16", "float32"), ("bfloat16", "float16")]:
        found = compare_runs(*(sipit.load_model(folder, dtype=one) for one in (first, second)), PROMPTS)
        assert found.kind is Verdict.ROUNDING, (first, second, found.reason)


def with_changed_table(model, ending, change):
    sipit.capture(model, PROMPTS, layer=0)  # some tables are made by the first run
    with torch.inference_mode():
        for name, table in model.module.named_buffers():
            if name.endswith(ending):
                change(table)
    return model


@pytest.mark.parametrize(("name", "ending", "change", "place"), [
    ("ctrl", "pos_encoding", lambda table: table[3, 2].mul_(1.02), (0, 3)),
    ("gemma3_text", "embed_scale", lambda scale: scale.mul_(1.01), (0, 0)),
    ("gemma3_text", "inv_freq", lambda table: table.copy_(table.bfloat16()), (1, 1)),
])  # fmt: skip
def test_a_table_that_somebody_else_has_changed_is_no_rounding(name, ending, change, place, tmp_path):
    folder = save(small(name), tmp_path, tokenizer=None)
    model = with_changed_table(sipit.load_model(folder, dtype="bfloat16"), ending, change)
    found = compare_runs(sipit.load_model(folder), model, PROMPTS)
    assert found.kind is Verdict.NOT_ROUNDING
    assert (found.first.layer, found.first.position) == place


@pytest.mark.slow
def test_long_prompts_come_back_from_states_in_bfloat16(tmp_path):
    folder = save(llama(max_position_embeddings=512), tmp_path)
    ids = drawn_ids(160, seed=2)
    (found,) = sipit.invert(sipit.load_model(folder), sipit.States((plain(folder, ids, dtype=torch.bfloat16)[1],), 1))
    assert found.token_ids == ids
