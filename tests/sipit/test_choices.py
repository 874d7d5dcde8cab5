"""Mixtures of experts in half types: a choice that rounding turns is rounding, and a fault beside it is one."""

import copy

import pytest
import torch
import transformers as tf
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import sipit
from numerics.networks.shrinking import small_copy
from proofs.verdict import Verdict
from sipit.privacy.calibration import calibrate
from sipit.privacy.choices import chooses, nearest_turned
from sipit.privacy.comparison import compare_runs
from sipit.prompts.builtin_text import random_tokens
from sipit.states.layered import capture_layers
from tests.sipit.cases import ALL_FAMILIES, language_model, rest_slow, tiny
from tests.sipit.folders import drawn, save

QUICK = ("deepseek_v3",)  # in which a choice turns that no run of the spread turned


def small(name, tmp_path, dtype):
    """A small model of a class with parameters that are drawn, in float32 and in a half type."""
    module = drawn(lambda: tf.AutoModelForCausalLM.from_config(small_copy(tf.AutoConfig.for_model(name))))
    folder = save(module, tmp_path, tokenizer=None)
    return [sipit.load_model(folder, dtype=one) for one in ("float32", dtype)]


def prompts(model, count):
    return random_tokens(model, (count, 24), generator=torch.Generator().manual_seed(7)).tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", rest_slow(*QUICK, of=sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)))
def test_a_turned_choice_is_rounding(name, dtype, tmp_path):
    try:
        if not any("expert" in field for field in tf.AutoConfig.for_model(name).get_text_config().to_dict()):
            pytest.skip("its configuration speaks of no experts")
        exact, coarse = small(name, tmp_path, dtype)
    except Exception as error:  # noqa: BLE001 - some classes take no small sizes, and say so in every way
        pytest.skip(f"there is no small {name} in {dtype}: {error}")
    ids = prompts(exact, 40)
    found = compare_runs(exact, coarse, ids)
    assert found.kind is Verdict.ROUNDING, found.reason
    if name in QUICK and dtype == "bfloat16":
        assert found.choices["places"] > 0 and "turns a choice" in found.reason
        assert all((far <= most).all() for far, most in zip(found.distances, found.expected, strict=True))
        # Of states that somebody captured nothing is computed in float64, and the answer is the same.
        states = capture_layers(coarse, ids, range(exact.layers + 1))
        assert compare_runs(exact, states, ids).kind is Verdict.ROUNDING


@pytest.mark.parametrize("name", rest_slow("flex_olmo", of=["axk2", "flex_olmo", "granitemoe", "phimoe", "zaya"]))
def test_turned_choices_do_not_widen_the_threshold(name, tmp_path):
    """Counted from the plain run, each would: a calibration prompt's own choice turns in a half type."""
    exact, _ = small(name, tmp_path, "bfloat16")
    assert calibrate(exact, range(exact.layers + 1), torch.bfloat16).threshold(0.01) < 4


def without_a_head(block):
    block.self_attn.o_proj.weight[:, :8] = 0


def other_experts(block):
    block.mlp.experts.gate_up_proj.copy_(block.mlp.experts.gate_up_proj.roll(1, 0))


def other_router(block):
    block.mlp.gate.weight.copy_(block.mlp.gate.weight.roll(1, 0))


@pytest.mark.parametrize("fault", rest_slow(other_experts, of=[without_a_head, other_experts, other_router]))
def test_a_fault_beside_turned_choices_is_found_at_its_block_in_a_half_type(fault, tmp_path):
    exact, coarse = small("deepseek_v3", tmp_path, "bfloat16")
    module = copy.deepcopy(coarse.module)
    with torch.no_grad():
        fault(module.model.layers[1])
    ids = prompts(exact, 40)
    found = compare_runs(exact, capture_layers(language_model(module), ids, range(exact.layers + 1)), ids)
    assert found.kind is Verdict.NOT_ROUNDING
    assert found.first.layer == 2


def test_who_chooses_is_seen_by_running():
    assert [name for name in ALL_FAMILIES if chooses(tiny(name))] == ["mixtral"]


def test_states_with_other_experts_lie_near_a_run_with_these_only(tmp_path):
    """What a turn explains is that run, and no other states as far away."""
    exact, coarse = small("deepseek_v3", tmp_path, "bfloat16")
    ids, layers, unit = prompts(exact, 40)[38], range(exact.layers + 1), torch.finfo(torch.bfloat16).eps
    (plain,), (other,) = (capture_layers(one, [ids], layers).stacks for one in (exact, coarse))
    far, near = (nearest_turned(exact, ids, layers, unit, [plain, one]) for one in (2 * plain - other.float(), other))
    assert nearest_turned(exact, ids, layers, unit, [plain]).amax() == 0
    assert float(near.amax()) < 0.1 < float(far.amax())


def test_files_of_a_mixture_without_prompts_are_undecided_where_a_choice_may_have_turned():
    model = tiny("mixtral")
    ids = prompts(model, 2)
    one, two = (capture_layers(model, ids, range(model.layers + 1)) for _ in range(2))
    two.stacks[1][1:, 5:] *= 1.5
    found = compare_runs(one, two)
    assert found.kind is Verdict.UNDECIDED and found.first is None and "--prompts" in found.reason
    assert compare_runs(one, two, ids).kind is Verdict.NOT_ROUNDING
