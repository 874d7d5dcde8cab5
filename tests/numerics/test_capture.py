"""What is captured from configs and modules, and that it is what the library computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from numerics.graphs.capture import build, capture_graph, find_blocks
from numerics.graphs.float64 import evaluate_float64
from numerics.networks.shrinking import small_copy
from proofs import AnalyticityProof, Graph, InvalidInput, Obstructions, Unsupported, Verdict, check, prove_analytic
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.operations.interpreter import evaluate
from proofs.provers.branches import with_witness
from tests.sipit.cases import rest_slow

FAMILIES = {
    "gpt2": "analytic", "gpt_neo": "analytic", "gpt_neox": "analytic", "opt": "C0", "bloom": "analytic",
    "llama": "analytic", "mistral": "analytic", "qwen2": "analytic", "qwen3": "analytic", "phi3": "analytic",
    "gemma3_text": "analytic", "olmo2": "analytic", "falcon": "analytic", "stablelm": "analytic",
    "mixtral": "unproved", "mamba": "analytic",
}  # fmt: skip
PLAIN = ("gpt2", "opt", "llama", "mixtral")  # these in every run, the rest with the slow tests
SLOWER = [name if name in PLAIN else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
TOKENS = [3, 5, 9, 3, 60]


def small(name: str) -> Any:
    config = AutoConfig.for_model(name)
    if name == "gpt_neo":
        return type(config)(**{**small_dict(config), "attention_types": [[["global", "local"], 1]], "num_layers": 2})
    return small_copy(config)


def small_dict(config: Any) -> dict[str, Any]:
    return {"hidden_size": 32, "num_heads": 4, "vocab_size": 64, "max_position_embeddings": 64, "window_size": 3}


def model_of(config: Any, attention: str = "eager") -> torch.nn.Module:
    model = build(config, attention, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model


@pytest.mark.parametrize("name", rest_slow(*SLOWER[::2], of=SLOWER))
def test_balls_hold_the_oracle_and_their_midpoints_are_cast_free_float64(name: str) -> None:
    config = small(name)
    graph = capture_graph(config, length=len(TOKENS))
    model = model_of(config)
    state = model.state_dict()
    reference = evaluate_float64(graph, state, TOKENS).numpy()
    tokens = np.array([TOKENS])
    with Balls(128) as balls:
        inputs: dict[str, Any] = {"tokens": tokens}
        inputs |= {n: balls.constant(_constant(state[n])) for n, _ in graph.parameters()}
        enclosed = evaluate(graph, inputs, balls)
        assert balls.radius(enclosed) < 1e-12  # a ball that holds everything would prove nothing
        assert np.abs(balls.midpoints(enclosed) - reference).max() <= 1e-12 * max(1, np.abs(reference).max())
    if sum(type.size for _, type in graph.parameters()) > 200_000:
        return  # mpmath would take a minute; a smaller model of the same operations is covered
    oracle = Multiprecision(256)
    inputs = {"tokens": tokens} | {n: oracle.constant(_constant(state[n])) for n, _ in graph.parameters()}
    exact = evaluate(graph, inputs, oracle)
    with Balls(300) as wide:
        points = [wide.number(_fraction(value)) for value in exact.ravel()]
        slack = wide.number(_fraction_of(2) ** -200)  # the oracle itself is rounded to 256 bits
        assert all(
            abs(ball.mid() - point) <= ball.rad() + slack for ball, point in zip(enclosed.ravel(), points, strict=True)
        )


def _constant(tensor: torch.Tensor) -> Any:
    from proofs.network.graph import Constant

    return Constant(tuple(tensor.shape), "real", tuple(_fraction_of(v) for v in tensor.double().reshape(-1).tolist()))


def _fraction_of(value: float) -> Any:
    from fractions import Fraction

    return Fraction(value)


def _fraction(value: Any) -> Any:
    sign, mantissa, exponent, _ = value._mpf_
    return (-1) ** sign * _fraction_of(int(mantissa)) * _fraction_of(2) ** int(exponent)


OTHERS = ("llama4_text", "granite_swa", "glm_moe_dsa", "mimo_v2_flash", "nemotron_h", "dots3_note_text")


@pytest.mark.parametrize("name", rest_slow(*SLOWER, of=[*SLOWER, *OTHERS]))
@pytest.mark.parametrize("attention", rest_slow("sdpa", of=["eager", "sdpa"]))
def test_the_graph_computes_what_the_library_does(name: str, attention: str) -> None:
    config = small(name)
    try:
        graph = capture_graph(config, attention=attention, length=len(TOKENS))  # type: ignore[arg-type]
    except Unsupported:
        with pytest.raises(ValueError, match="does not support an attention implementation"):
            AutoModelForCausalLM.from_config(config, attn_implementation=attention)  # the library refuses it as well
        return
    model = model_of(config, attention)
    ours = evaluate_float64(graph, model.state_dict(), TOKENS)
    seen: list[Any] = []
    handle = find_blocks(model)[-1].register_forward_hook(
        lambda m, a, o: seen.append(o[0] if isinstance(o, tuple) else o)
    )
    with torch.no_grad():
        model.double()(input_ids=torch.tensor([TOKENS]), use_cache=False)
    handle.remove()
    # The library keeps norms, rotary tables and softmax in float32 whatever the model's type.
    torch.testing.assert_close(ours, seen[0].double(), rtol=1e-5, atol=2e-5 * float(ours.abs().max()))


@pytest.mark.parametrize("name", SLOWER)
def test_the_class_of_every_family_and_the_kernel_agrees(name: str) -> None:
    found = prove_analytic(capture_graph(small(name)))
    assert str(found.regularity) == FAMILIES[name]
    stored = json.loads(json.dumps(found.to_json()))
    assert check(stored).verdict is Verdict.ACCEPTED
    assert Graph.from_json(stored["graph"]) == found.graph


def test_where_the_kink_is() -> None:
    found = prove_analytic(capture_graph(small("opt")))
    assert isinstance(found, Obstructions)
    assert [o.module for o in found.obstructions] == [f"model.decoder.layers.{i}.activation_fn" for i in (0, 1)]
    assert all("modeling_opt.py:" in o.source for o in found.obstructions)


@pytest.mark.slow
def test_routing_is_certified_to_jump() -> None:
    found = prove_analytic(capture_graph(small("mixtral"), length=2))
    assert isinstance(found, Obstructions)
    certified = with_witness(found)
    assert str(certified.regularity) == "discontinuous"
    assert check(certified).verdict is Verdict.ACCEPTED


def llama(**options: Any) -> LlamaConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaConfig(**{**sizes, "num_key_value_heads": 2, "vocab_size": 64, **options})


def test_epsilon_zero_names_every_norm() -> None:
    found = prove_analytic(capture_graph(llama(rms_norm_eps=0.0)))
    assert isinstance(found, Obstructions)
    assert str(found.regularity) == "unproved"
    assert [o.module for o in found.obstructions] == [
        f"model.layers.{i}.{norm}" for i in (0, 1) for norm in ("input_layernorm", "post_attention_layernorm")
    ]


def test_clipped_queries_are_c0() -> None:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    sizes = {name: value for name, value in llama().to_dict().items() if name in names}
    config = AutoConfig.for_model("olmo", **sizes, clip_qkv=8.0)
    assert str(prove_analytic(capture_graph(config)).regularity) == "C0"


class Toy(torch.nn.Module):
    def __init__(self, step: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(8, 4)
        self.linear = torch.nn.Linear(4, 4)
        self.step = step

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        return self.step(x, self.linear(x))


def fake_quantized(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    scale = y.abs().amax(-1, keepdim=True) / 7
    return x + torch.round(y / scale).clamp(-8, 7) * scale


def shifted(z: torch.Tensor) -> torch.Tensor:
    return torch.softmax(z - z.max(-1, keepdim=True).values, -1)


def masked_log_sum_exp(hidden: bool) -> Any:
    """One minus the weight of a sink, as some attention layers write it; `hidden` masks whole rows."""

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(-1 if hidden else 0)
        scores = (x @ y.transpose(1, 2)).masked_fill(~allowed, float("-inf"))
        return y * torch.sigmoid(torch.logsumexp(scores, -1, keepdim=True) - y[..., :1])

    return step


def rotated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A rotary embedding in complex numbers."""
    angles = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.5])
    turn = torch.polar(torch.ones_like(angles), angles) * 1.0
    pairs = torch.view_as_complex(y.float().reshape(*y.shape[:-1], 2, 2))
    return torch.view_as_real(pairs * turn[None, :, :]).flatten(2).type_as(y)


def chosen(count: int) -> Any:
    """y where it is among the largest entries."""
    return lambda x, y: y * torch.zeros_like(y).scatter(-1, y.topk(count).indices, 1.0)


def gated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A router that puts -inf where nothing is chosen."""
    values, places = y.topk(2)
    return x * torch.sigmoid(torch.full_like(y, float("-inf")).scatter(-1, places, values))


REWRITTEN = {
    "log-sum-exp": masked_log_sum_exp(hidden=False), "rotation": rotated, "all chosen": chosen(4),
    "some chosen": chosen(2), "gate": gated,
    "clamp by a tensor": lambda x, y: torch.clamp(y, min=x, max=x + 1),
}  # fmt: skip


@pytest.mark.parametrize("step", REWRITTEN.values(), ids=list(REWRITTEN))
def test_what_is_written_otherwise_computes_the_same(step: Any) -> None:
    module = Toy(step).eval().double()
    ours = evaluate_float64(capture_graph(module, length=3), module.state_dict(), [1, 5, 2])
    with torch.no_grad():
        torch.testing.assert_close(ours, module(torch.tensor([[1, 5, 2]])), rtol=1e-6, atol=1e-6)


TRAPS = {
    "log-sum-exp": (masked_log_sum_exp(hidden=False), "analytic"),
    "log-sum-exp of nothing": (masked_log_sum_exp(hidden=True), "unproved"),
    "rotation": (rotated, "polynomial"),
    "all chosen": (chosen(4), "polynomial"),
    "some chosen": (chosen(3), "unproved"),
    "gate": (gated, "unproved"),
    "whole part of a constant": (
        lambda x, y: x * torch.log(1 + torch.floor((torch.arange(3).float()[:, None] + 1) / 8)), "polynomial"
    ),
    "whole part below 0": (
        lambda x, y: x * torch.log(1 + torch.floor((torch.arange(3).float()[:, None] - 1) / 8)), "unproved"
    ),
    "relu": (lambda x, y: x + torch.relu(y), "C0"),
    "relu squared": (lambda x, y: x + torch.relu(y) ** 2, "C1"),
    "soft cap": (lambda x, y: 30 * torch.tanh(y / 30), "analytic"),
    "norm": (lambda x, y: y / y.norm(dim=-1, keepdim=True), "unproved"),
    "softplus": (lambda x, y: torch.nn.functional.softplus(y), "analytic"),
    "max shift": (lambda x, y: torch.softmax(y - y.amax(-1, keepdim=True), -1), "analytic"),
    "another max": (lambda x, y: torch.softmax(y - y.amax(1, keepdim=True), -1), "C0"),
    "negative alpha": (lambda x, y: torch.rsqrt(torch.add(torch.tanh(y), torch.exp(x), alpha=-1)), "unproved"),
    "alpha": (lambda x, y: torch.rsqrt(torch.add(torch.exp(y), torch.exp(x), alpha=2)), "analytic"),
    "inactive clamp": (lambda x, y: torch.exp(y).clamp(min=0.0), "analytic"),
    "fake quantisation": (fake_quantized, "unproved"),
    "leaky": (lambda x, y: torch.nn.functional.leaky_relu(y), "C0"),
    "mish": (lambda x, y: torch.nn.functional.mish(y), "analytic"),
    "integers from data": (lambda x, y: x * y.long(), "unproved"),
    "dropout off": (lambda x, y: torch.nn.functional.dropout(y, 0.5, training=False), "polynomial"),
    "sinks": (lambda x, y: shifted(torch.cat([y, x[..., :1]], -1)), "analytic"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "expected"), TRAPS.values(), ids=list(TRAPS))
def test_known_traps(step: Any, expected: str) -> None:
    found = prove_analytic(capture_graph(Toy(step).eval(), length=3))
    assert str(found.regularity) == expected
    assert check(json.loads(json.dumps(found.to_json()))).verdict is Verdict.ACCEPTED


class Rescaled(Toy):
    """Sets a buffer and a parameter anew before it answers, as some recurrent models do."""

    def __init__(self) -> None:
        super().__init__(lambda x, y: torch.relu(y))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        self.get_buffer("calls").add_(1)
        self.linear.weight.div_(2)
        return super().forward(input_ids)


def test_what_is_set_anew_on_the_way_is_not_taken_for_the_result() -> None:
    module = Rescaled().eval().double()
    graph = capture_graph(module, length=3)
    assert str(prove_analytic(graph).regularity) == "C0"
    ours = evaluate_float64(graph, module.state_dict(), [1, 5, 2])
    with torch.no_grad():
        torch.testing.assert_close(ours, module(torch.tensor([[1, 5, 2]])))


def test_dropout_in_training_mode_is_no_function() -> None:
    step = torch.nn.Dropout(0.5)
    found = prove_analytic(capture_graph(Toy(lambda x, y: step(y)).train(), length=3))
    assert str(found.regularity) == "unproved"


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_counts_blocks(layer: int) -> None:
    graph = capture_graph(llama(), layer)
    assert graph.layer == layer
    blocks = {int(n.module.split(".")[2]) for n in graph.nodes if n.module.startswith("model.layers.")}
    assert blocks == set(range(layer))


@pytest.mark.slow
def test_mixed_blocks_are_all_kept_by_a_cut() -> None:
    kinds = ["full_attention", "full_attention", "sliding_attention"] + ["full_attention"] * 9
    data = small("gemma3_text").to_dict() | {"num_hidden_layers": 12, "layer_types": kinds}
    config = type(small("gemma3_text")).from_dict(data)
    assert capture_graph(config, distinct=True).about["captured_layers"] == 3


def written(folder: Path, content: str) -> Path:
    path = folder / "config.json"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", InvalidInput, "JSON"),
        ("[]", InvalidInput, "model_type"),
        ("{}", InvalidInput, "model_type"),
        ('{"model_type": "t5"}', InvalidInput, "decoder-only"),
        ('{"model_type": "vit"}', InvalidInput, "decoder-only"),
        ('{"model_type": "nobody-knows"}', InvalidInput, "known model_type"),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "x.Y"}}', Unsupported, "own code"),
        ('{"model_type": "llama", "num_hidden_layers": 1000000000}', InvalidInput, "num_hidden_layers"),
        ('{"model_type": "llama", "hidden_size": -4}', InvalidInput, "hidden.size"),
        ('{"model_type": "llama", "vocab_size": 0}', InvalidInput, "vocab_size"),
    ],
)
def test_a_bad_config_is_one_sentence(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        capture_graph(written(tmp_path, content))
    assert "\n" not in str(raised.value)


class Refusing(torch.nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("error", [InvalidInput("Expected a, but got b; give a."), MemoryError("no room")])
def test_a_sentence_and_a_lack_of_memory_come_out_of_a_capture_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        capture_graph(Refusing(error), length=3)
    assert str(raised.value) == str(error)


def test_what_a_module_raises_is_told_in_one_sentence_with_a_way_out() -> None:
    with pytest.raises(Unsupported, match=r"traced, but Refusing cannot: no; give one that torch\.export takes\.$"):
        capture_graph(Refusing(RuntimeError("no.\nBut why")), length=3)


def test_a_missing_config(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        capture_graph(tmp_path / "nowhere.json")


def test_a_layer_beyond_the_last() -> None:
    with pytest.raises(InvalidInput, match="from 0 to 2"):
        capture_graph(llama(), 3)


@pytest.mark.slow
def test_seventy_billion_parameters_from_a_config_file(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
        num_key_value_heads=8, vocab_size=128256,
    )  # fmt: skip
    found = prove_analytic(capture_graph(written(tmp_path, json.dumps(config.to_dict()))))
    assert isinstance(found, AnalyticityProof)
    assert found.graph.about["parameters"] > 69e9
    certificate = found.to_json()
    assert check(certificate).verdict is Verdict.ACCEPTED
    assert len(json.dumps(certificate)) < 100_000  # 80 equal layers, written once
