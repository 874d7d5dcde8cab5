"""Two runs compared: rounding is called rounding, and a fault is found at the block where it was planted."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import transformers

import sipit
from numerics.formats import FORMATS
from proofs.errors import InvalidInput, MissingResource, Unsupported
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.models import load_model
from sipit.models.copies import copied
from sipit.privacy.comparison import compare_runs
from sipit.privacy.record import comparison_record
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.runs import open_run
from sipit.privacy.weights import common_format, dense_weights
from sipit.quantization.formatted import in_format
from sipit.states.layered import capture_layers, read_layers, write_layers
from tests.sipit.cases import altered, language_model, random_prompts, tiny

PROMPTS = random_prompts(3, longest=16, shortest=8, seed=4)


def without_a_head(block):
    with torch.no_grad():
        block.self_attn.o_proj.weight[:, : block.self_attn.head_dim] = 0


def other_epsilon(block):
    block.input_layernorm.variance_epsilon *= 1.5


def turned(block, *, base=1.0, shift=0):
    """Attention that gets other angles, as of another rotary base or of positions one too far from the fifth on."""

    def other(_module, arguments, named):
        cos, _ = named["position_embeddings"]
        at = torch.arange(cos.shape[1])
        angles = (at + shift * (at >= 5))[:, None] * (10000.0 * base) ** -torch.linspace(0, 1, cos.shape[2])
        named["position_embeddings"] = tuple(f(angles)[None].to(cos.dtype) for f in (torch.cos, torch.sin))
        return arguments, named

    block.self_attn.register_forward_pre_hook(other, with_kwargs=True)


def clamped(block):
    block.mlp.register_forward_hook(lambda _module, _arguments, output: output.clamp(max=0.02))


FAULTS = {
    "head": without_a_head, "epsilon": other_epsilon, "clamp": clamped,
    "base": lambda block: turned(block, base=1.01), "positions": lambda block: turned(block, shift=1),
}  # fmt: skip


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("block", "dtype"),
    [(2, "float32"), *(pytest.param(*one, marks=SLOW) for one in ((1, "float32"), (1, "bfloat16"), (2, "bfloat16")))],
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_block(fault, block, dtype):
    model = tiny("llama", dtype)
    module = copy.deepcopy(model.module)
    FAULTS[fault](module.model.layers[block - 1])
    found = compare_runs(model, language_model(module), PROMPTS)
    assert found.kind is Verdict.NOT_ROUNDING
    assert found.first.layer == block


@pytest.mark.parametrize(
    "settings",
    ["cache=on", "dtype=bfloat16", "dtype=float16,attention=eager,batch=2", *(
        pytest.param(one, marks=SLOW) for one in (
            "threads=2", "batch=3", "batch=2,padding=left", "attention=eager", "dtype=float16", "dtype=float64",
            "dtype=bfloat16,cache=on"))],
)  # fmt: skip
def test_rounding_is_never_called_a_bug(settings):
    found = compare_runs(tiny("llama"), f"tiny-llama@{settings}", PROMPTS)
    assert found.kind is Verdict.ROUNDING, found.reason
    assert found.first is None


def test_a_type_of_the_command_line_is_that_of_models_that_name_none(capsys):
    line = ["compare", "tiny-gpt2", "tiny-gpt2@dtype=float64", "--json"]
    for given, expected in ([], "float32"), (["--dtype", "bfloat16"], "bfloat16"):
        assert run([*line, *given]) == 0
        first, second = json.loads(capsys.readouterr().out)["result"]["runs"]
        assert (expected in first["arithmetic"], "float64" in second["arithmetic"]) == (True, True)


def test_two_half_types_differ_by_rounding():
    assert compare_runs(tiny("gpt2", "bfloat16"), tiny("gpt2", "float16"), PROMPTS).kind is Verdict.ROUNDING


@pytest.mark.parametrize("name", ["int8", *(pytest.param(one, marks=SLOW) for one in ("int4", "Q4_0", "Q8_0", "nf4"))])
def test_weights_in_a_coarser_format_differ_by_that_and_what_else_differs_is_found(name):
    model = tiny("llama")
    coarse = in_format(model, FORMATS[name]).model
    found = compare_runs(coarse, model, PROMPTS)
    assert found.kind is Verdict.ROUNDING, found.reason
    assert found.formats == {name: 16 if name.startswith("Q") else 14}  # with embedding and head
    other_epsilon(coarse.module.model.layers[1])
    found = compare_runs(model, coarse, PROMPTS)
    assert found.kind is Verdict.NOT_ROUNDING and found.first.layer == 2
    with torch.no_grad():
        coarse.module.model.embed_tokens.weight[3] *= 1.5
    assert rounded_to(model, coarse) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_weights_that_the_library_packed_are_recognised(tmp_path, kind, double, dtype):
    """By the way that people take, with the scales as it leaves them by default and rounded in their turn."""
    plain = tiny("llama")
    module = copy.deepcopy(plain.module).to(dtype)
    module.save_pretrained(tmp_path / "plain")
    options = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double
    )
    transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", quantization_config=options, dtype=dtype
    ).save_pretrained(tmp_path / "packed")
    found = rounded_to(*(load_model(tmp_path / name) for name in ("plain", "packed")))
    assert found is not None and found.formats == {f"{kind}-double-quant" if double else kind: 14}


def test_a_weight_halfway_between_two_numbers_may_have_been_rounded_to_either():
    """As another device does, whose scale is one rounding off."""
    step = float(tiny("llama").module.model.layers[0].mlp.up_proj.weight[0].abs().amax()) / 127.5  # torchao's own

    def halfway(size):
        def change(module):
            module.model.layers[0].mlp.up_proj.weight[0, 3] = 10.5 * size * step

        return altered("llama", change)

    model, down, up = (halfway(1 + moved) for moved in (0, -1e-6, 1e-6))
    down, up = (in_format(one, FORMATS["int8"]).model for one in (down, up))
    before, after = (dense_weights(one) for one in (down, up))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for coarse in (down, up):
        assert rounded_to(model, coarse) is not None
        assert compare_runs(coarse, model, PROMPTS).kind is Verdict.ROUNDING
    moved = copied(model)
    with torch.no_grad():
        moved.module.model.layers[0].mlp.up_proj.weight[0] += 3 * step
    assert rounded_to(moved, down) is None


def test_other_weights_are_no_rounding_and_have_no_format_in_common():
    other = sipit.load_model("tiny-llama", seed=1)
    assert common_format(tiny("llama"), other) is None
    assert compare_runs(tiny("llama"), other, PROMPTS).first.layer == 0


def test_states_of_several_layers_go_through_a_file(tmp_path):
    model = tiny("llama")
    plain = capture_layers(model, PROMPTS, [1, 2])
    path = tmp_path / "states.safetensors"
    write_layers(path, plain)
    again = read_layers(path)
    assert again.layers == (1, 2) and again.manifest == plain.manifest
    assert all(torch.equal(a, b) for a, b in zip(plain.stacks, again.stacks, strict=True))
    one = sipit.capture(model, PROMPTS, layer=2)
    assert all(torch.equal(a, b) for a, b in zip(one, sipit.read_states(path, layer=2), strict=True))
    with pytest.raises(InvalidInput, match="one of the layers 1,2"):
        sipit.read_states(path)


@pytest.mark.parametrize("how", [{"cached": True}, {"batch": 2}, {"batch": 3, "padding": "left"}])
def test_layers_are_captured_as_each_alone(how):
    model = tiny("gpt2")
    together = capture_layers(model, PROMPTS, [0, 1, 2], **how)
    for place, layer in enumerate(together.layers):
        alone = sipit.capture(model, PROMPTS, layer=layer, **how)
        assert all(torch.equal(stack[place], one) for stack, one in zip(together.stacks, alone, strict=True))


def test_files_are_compared_with_files_and_models(tmp_path, capsys):
    model = tiny("llama")
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    plain = capture_layers(model, PROMPTS, [0, 1, 2])
    write_layers(files[0], plain)
    write_layers(files[1], capture_layers(tiny("llama", "bfloat16"), PROMPTS, [0, 1, 2]))
    plain.stacks[1][2, 3] *= 1.001
    write_layers(files[2], plain)
    assert compare_runs(files[0], files[1]).kind is Verdict.ROUNDING
    found = compare_runs(model, files[2], PROMPTS)
    assert (found.first.layer, found.first.position, found.first.prompt) == (2, 3, 1)
    assert run(["compare", str(files[0]), str(files[2]), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["first_divergence"]["layer"] == 2 and [row["layer"] for row in result["layers"]] == [0, 1, 2]
    assert run(["compare", str(files[0]), str(files[2]), "--fail-on", "undecided"]) == 0
    assert run(["compare", str(files[0]), str(files[2]), "--fail-on", "not_rounding"]) == 1


def test_of_two_files_the_model_whose_rounding_was_expected_is_named(tmp_path):
    ids, files = [[1, 2, 3, 4], [5, 6, 7, 8]], []
    for dtype in ("float32", "bfloat16"):
        files.append(tmp_path / f"{dtype}.safetensors")
        write_layers(files[-1], capture_layers(tiny("gpt2", dtype), ids, [1, 2]))
    for dtype in ("float32", "float64"):
        record = comparison_record(*files, dtype=dtype)
        where = record.provenance
        assert (where["model"], where["digest"]) == ("tiny-gpt2", tiny("gpt2").digest)
        assert (where["dtype"], where["device"]) == (dtype, "cpu") and dtype in where["arithmetic"]
        assert record.verdict is Verdict.ROUNDING


def test_the_arithmetic_of_both_models_and_of_what_decides_is_named():
    record = comparison_record(tiny("gpt2", "bfloat16"), tiny("gpt2"), [[1, 2, 3, 4]])
    ran = record.provenance["arithmetic"]
    assert tiny("gpt2", "bfloat16").arithmetic in ran and tiny("gpt2").arithmetic in ran
    assert record.result["in_float64"]["done"] and ran.endswith(
        "; both models in float64, without the casts of the library"
    )


def test_states_of_text_without_special_tokens_are_compared_by_that_text(tmp_path, capsys):
    text, file = tmp_path / "p.txt", tmp_path / "s.safetensors"
    text.write_text("Hello world\nGoodbye\n")
    line = ["--prompts", str(text), "--no-special-tokens"]
    assert run(["capture", "tiny-llama", *line, "--layer", "all", "-o", str(file)]) == 0
    assert run(["compare", "tiny-llama", str(file), *line]) == 0
    assert run(["compare", "tiny-llama", str(file), *line[:2]]) == 2
    capsys.readouterr()


@pytest.mark.parametrize("first", [True, False])
def test_a_state_that_is_zero_is_beyond_all_distances(first, tmp_path, capsys):
    """A record has no such number; the place is told all the same."""
    files, states = (
        [tmp_path / f"{name}.safetensors" for name in ("a", "b")],
        capture_layers(tiny("llama"), PROMPTS, [1]),
    )
    write_layers(files[first], states)
    states.stacks[1][0, 3] = 0
    write_layers(files[not first], states)
    assert run(["compare", *map(str, files), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["result"]["first_divergence"]
    assert (found["layer"], found["position"], found["prompt"]) == (1, 3, 1)
    assert (found["distance"] is None) is first


@pytest.mark.parametrize("fault", [MissingResource, Unsupported, InvalidInput])
def test_a_model_that_cannot_be_had_explains_nothing(fault, tmp_path, monkeypatch):
    """Two files are compared without it, as they are where no manifest names one."""
    files = [tmp_path / f"{name}.safetensors" for name in ("a", "b")]
    for file in files:
        write_layers(file, capture_layers(tiny("llama"), PROMPTS, [0, 1, 2]))
    expected = compare_runs(*files)

    def opened(given, **named):
        if given == "tiny-llama":
            raise fault("Expected the model to be here, but it is not; install it.")
        return open_run(given, **named)

    monkeypatch.setattr("sipit.privacy.comparison.open_run", opened)
    assert compare_runs(*files).kind is expected.kind is Verdict.ROUNDING
    with pytest.raises(InvalidInput, match=r"tiny-llama, which .*a\.safetensors names, cannot be loaded"):
        compare_runs(*files, PROMPTS)


@pytest.mark.parametrize(("layers", "told"), [
    ([1], "nowhere at layer 1, which is all that both have, by more"), ([1, 2], "nowhere up to the last block by more"),
])  # fmt: skip
def test_a_comparison_claims_no_layer_that_a_file_does_not_hold(layers, told, tmp_path):
    write_layers(tmp_path / "a.safetensors", capture_layers(tiny("llama"), PROMPTS, layers))
    found = compare_runs(tiny("llama"), tmp_path / "a.safetensors", PROMPTS)
    assert found.kind is Verdict.ROUNDING and told in found.reason


def test_why_no_model_explains_a_difference_is_said(tmp_path):
    stacks, file = capture_layers(tiny("llama"), PROMPTS, [1, 2]), tmp_path / "a.safetensors"
    nameless = sipit.states.layered.LayeredStates((1, 2), stacks.stacks)
    with pytest.raises(InvalidInput, match="but none is named by states; compare with a model"):
        compare_runs(nameless, nameless, PROMPTS)
    write_layers(file, replace(stacks, manifest=replace(stacks.manifest, digest="0" * 64)))
    other = sipit.states.layered.LayeredStates((1, 2), tuple(1.5 * stack for stack in stacks.stacks))
    reason = compare_runs(file, other).reason
    assert "is not the model that they were captured from" in reason and "transformers" not in reason
    older = replace(stacks.manifest, digest="0" * 64, versions=stacks.manifest.versions | {"transformers": "5.22.0"})
    write_layers(file, replace(stacks, manifest=older))
    assert "unless transformers 5.22.0 gave it another digest" in compare_runs(file, other).reason


def test_without_a_model_what_storing_does_not_explain_is_undecided(tmp_path):
    stacks = [torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))]
    pair = []
    for name, change in (("a", 0.0), ("b", 0.0), ("c", 0.01)):
        pair.append(sipit.states.layered.LayeredStates((1, 2), (stacks[0] * (1 + change),)))
        write_layers(tmp_path / f"{name}.safetensors", pair[-1])
    assert compare_runs(pair[0], pair[1]).kind is Verdict.ROUNDING
    record = comparison_record(pair[0], pair[2])
    assert record.verdict is Verdict.UNDECIDED
    assert record.result["first_divergence"] is None and record.result["layers"][0]["expected"] is None


@pytest.mark.parametrize(
    ("first", "second", "prompts", "said"),
    [
        ("tiny-llama@speed=9", "tiny-llama", None, "Expected settings of"),
        ("tiny-llama@batch=0", "tiny-llama", None, "whole number of at least 1"),
        ("tiny-llama@attention=none-such", "tiny-llama", None, "Expected an attention"),
        ("tiny-llama", 3, None, "Expected a model, its name or a states file"),
    ],
)
def test_bad_input_is_told_in_a_sentence(first, second, prompts, said):
    with pytest.raises(InvalidInput, match=said):
        compare_runs(first, second, prompts)


def test_states_of_other_prompts_are_refused():
    states = capture_layers(tiny("llama"), PROMPTS, [1, 2])
    with pytest.raises(InvalidInput, match="same prompts"):
        compare_runs(tiny("llama"), states, PROMPTS[:2])
    with pytest.raises(InvalidInput, match="the prompts of the states"):
        compare_runs(tiny("llama"), states)
    assert open_run(states).states is states
