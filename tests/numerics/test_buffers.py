"""Buffers: what a class computes is known to its graph, and what a checkpoint fills is free."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, MiniMaxConfig

import sipit
from numerics.graphs.buffers import Buffers
from numerics.graphs.capture import build, capture_graph, expect_computed
from numerics.graphs.float64 import evaluate_float64
from numerics.graphs.lowering import COMPUTED
from numerics.graphs.small_graphs import sees_later_tokens
from numerics.networks.shrinking import small_copy
from proofs import Unsupported
from proofs.kernel.patterns import constants_are_known
from proofs.kernel.value_numbering.number import Numbering
from sipit.claims.certify import certify
from sipit.claims.check import check_model


class Scaled(torch.nn.Module):
    """Embedding rows times what is registered as a buffer."""

    def __init__(self, scale: torch.Tensor, *, persistent: bool) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 4)
        self.register_buffer("scale", scale, persistent=persistent)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids) * self.get_buffer("scale")


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("scale", [torch.tensor(0.5), torch.ones(4), torch.arange(4.0)])
def test_a_module_of_ones_own_has_the_buffers_that_it_has(scale: torch.Tensor, persistent: bool) -> None:
    module = Scaled(scale, persistent=persistent)
    graph = capture_graph(module, length=2)
    assert [name for name, _ in graph.parameters()] == ["table.weight"]
    ours = evaluate_float64(graph, module.state_dict(), [3, 5])
    torch.testing.assert_close(ours, module(torch.tensor([[3, 5]])).double())


@pytest.mark.parametrize("persistent", [True, False])
def test_a_buffer_of_zeros_makes_all_prompts_one(persistent: bool) -> None:
    graph = capture_graph(Scaled(torch.zeros(4), persistent=persistent), length=2)
    assert Numbering([graph]).equal(graph, (1, 2), graph, (3, 4))


class Counted(torch.nn.Module):
    """Embedding rows times a whole number that every run adds to."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 4)
        self.register_buffer("count", torch.tensor(0), persistent=persistent)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids) * self.get_buffer("count").add_(1)


@pytest.mark.parametrize("persistent", [True, False])
def test_a_counter_is_not_what_it_was_before_the_first_run(persistent: bool) -> None:
    graph = capture_graph(Counted(persistent=persistent), length=2)
    assert not constants_are_known(graph)
    assert not Numbering([graph]).equal(graph, (1, 2), graph, (1, 3))


def whole(value: list[int], *, persistent: bool = True, dtype: torch.dtype = torch.int64) -> torch.nn.Module:
    """A module with one buffer of whole numbers, or of truth values."""
    module = torch.nn.Module()
    module.register_buffer("table", torch.tensor(value, dtype=dtype), persistent=persistent)
    return module


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_whole_numbers_that_a_checkpoint_fills_are_not_known(dtype: torch.dtype, stored: bool) -> None:
    filled = Buffers.of_class(whole([0, 0, 0], dtype=dtype), stored=stored)
    assert (filled.values, filled.free, filled.assumed) == ({"table": None}, frozenset(), frozenset())
    for module, assumed in ((whole([0, 1, 0], dtype=dtype), {"table"}), (whole([0, 0], persistent=False), set())):
        known = Buffers.of_class(module, stored=stored)
        assert (known.free, known.assumed) == (frozenset(), assumed)
        assert known.values["table"] is not None and torch.equal(known.values["table"], module.get_buffer("table"))


def test_whole_numbers_of_a_checkpoint_are_compared_exactly() -> None:
    built = Buffers.of_class(whole([4096, 4097, 1]), stored=False)
    assert built.others_in(whole([4096, 4097, 1])) == []
    assert built.others_in(whole([4096, 4096, 1])) == ["table"]  # what is 4097 in a half type


def test_the_experts_of_a_token_are_not_known_without_weights() -> None:
    """DeepSeek-V4 chooses experts by a table of ids, which is 0 as it is built and which checkpoints fill."""
    model = build(small_copy(AutoConfig.for_model("deepseek_v4")))
    tables = {name: value for name, value in Buffers.of_class(model, stored=False).values.items() if "tid2eid" in name}
    assert tables and set(tables.values()) == {None}


def test_decays_are_what_the_class_computes_and_it_is_said() -> None:
    """MiniMax keeps its decays, and the mask in them, in buffers that checkpoints have too: drawn, it is not causal."""
    graph = capture_graph(small_copy(MiniMaxConfig()), length=3)
    assert not [name for name, _ in graph.parameters() if "decay" in name]
    assert COMPUTED in graph.idealisations
    assert sees_later_tokens(graph) is False


def test_a_checkpoint_with_other_decays_is_captured_as_it_is() -> None:
    config = small_copy(MiniMaxConfig())
    model = build(config, device="cpu").double()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if "decay" in name:
                buffer.mul_(0.9)
        states = model(torch.tensor([[5, 9, 3]]), output_hidden_states=True).hidden_states[1]
    graph = capture_graph(config, 1, length=3, stored=True)
    assert COMPUTED not in graph.idealisations
    ours = evaluate_float64(graph, model.state_dict(), [5, 9, 3])
    torch.testing.assert_close(ours, states, rtol=1e-5, atol=1e-5)  # its class goes by way of float32 here and there


@pytest.mark.parametrize("kind", ["minimax", "deepseek_v3", "gemma3_text", "mamba2"])
def test_a_graph_has_the_same_parameters_with_weights_and_without(kind: str) -> None:
    config = small_copy(AutoConfig.for_model(kind))
    without, loaded = (Buffers.of_class(build(config, device=device), stored=False) for device in ("meta", "cpu"))
    assert (without.free, without.assumed) == (loaded.free, loaded.assumed)
    for name in loaded.assumed:
        assert without.values[name] is not None
        assert torch.equal(without.values[name], loaded.values[name])


def test_a_bias_of_experts_that_is_learned_is_free() -> None:
    model = build(small_copy(AutoConfig.for_model("deepseek_v3")))
    assert any("e_score_correction_bias" in name for name in Buffers.of_class(model, stored=False).free)


def test_what_a_class_sets_in_the_modules_of_a_module_is_known() -> None:
    """Falcon-H1 sets the multipliers of its mixers from the model around them."""
    graph = capture_graph(small_copy(AutoConfig.for_model("falcon_h1")), length=2)
    assert constants_are_known(graph)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_checkpoint_keeps_what_its_class_computes_or_is_another_network(dtype: torch.dtype) -> None:
    config = small_copy(MiniMaxConfig())
    model = build(config, device="cpu").to(dtype)
    expect_computed(model, config)
    expect_computed(model.float(), config)  # as it is loaded from a half type
    model.get_buffer("model.layers.1.self_attn.slope_rate").zero_()
    with pytest.raises(Unsupported, match=r"hold other values for model\.layers\.1\.self_attn\.slope_rate; give"):
        expect_computed(model, config)


@pytest.mark.slow
def test_a_certificate_is_of_the_buffers_that_the_weights_hold(tmp_path: Path) -> None:
    """MiniMax without decay sums over what is behind a token: the two prompts have one state."""
    config = small_copy(MiniMaxConfig(num_hidden_layers=1, layer_types=["linear_attention"]))
    config.num_local_experts = config.num_experts_per_tok = 1
    model = build(config, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("decay"):
            buffer.copy_((buffer > 0).float())
        elif name.endswith("slope_rate"):
            buffer.zero_()
    model.save_pretrained(tmp_path)
    loaded = sipit.load_model(str(tmp_path))
    record = certify(loaded, [[5, 6, 7, 8], [6, 5, 7, 8]], layer=1)
    first, second = sipit.capture(loaded, [[5, 6, 7, 8], [6, 5, 7, 8]], layer=1)
    apart = float((first[-1] - second[-1]).double().norm())
    assert record.result["minimum_lower_bound"] is None or float(record.result["minimum_lower_bound"]) <= apart
    with pytest.raises(Unsupported, match="hold other values"):
        check_model(str(tmp_path))
