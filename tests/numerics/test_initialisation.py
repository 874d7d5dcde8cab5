"""What a class's own initialisation fixes, and what stays of it in given weights."""

import pytest
import torch
from transformers import AutoConfig

from numerics.networks.initialisation import constant_parameters, own_initialisation
from sipit.models.tiny import drawn_module, tiny_config


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3", "mamba"])
def test_gains_and_biases_are_fixed_and_matrices_drawn(family: str) -> None:
    state = torch.random.get_rng_state()
    found = own_initialisation(tiny_config(family))
    assert torch.equal(state, torch.random.get_rng_state())
    assert found is not None
    assert 0 < found.fixed < found.entries / 10
    assert set(found.always) & {"0", "1"}
    names = [name for names in found.always.values() for name in names]
    assert any("norm" in name or "ln_" in name for name in names)
    assert not any("embed" in name or "wte" in name for name in names)
    assert found.zero_matrices == ()


def test_matrices_at_zero_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GPT2PreTrainedModel

    usual = GPT2PreTrainedModel._init_weights

    def with_silent_attention(self: object, module: torch.nn.Module) -> None:
        usual(self, module)
        if type(module).__name__ == "GPT2Attention":
            torch.nn.init.zeros_(module.c_proj.weight)

    monkeypatch.setattr(GPT2PreTrainedModel, "_init_weights", with_silent_attention)
    found = own_initialisation(tiny_config("gpt2"))
    assert found is not None
    assert found.zero_matrices == ("transformer.h.*.attn.c_proj.weight",)


@pytest.mark.parametrize("bond", ["orthogonal", "none"])
def test_matrices_with_orthogonal_rows_or_columns_are_named(monkeypatch: pytest.MonkeyPatch, bond: str) -> None:
    """Every entry differs from seed to seed, and the law has no density all the same."""
    from transformers import GPT2PreTrainedModel

    usual = GPT2PreTrainedModel._init_weights

    def drawn(self: object, module: torch.nn.Module) -> None:
        usual(self, module)
        if type(module).__name__ == "Embedding":
            draw = torch.nn.init.orthogonal_ if bond == "orthogonal" else torch.nn.init.xavier_uniform_
            draw(module.weight, gain=0.3)

    monkeypatch.setattr(GPT2PreTrainedModel, "_init_weights", drawn)
    found = own_initialisation(tiny_config("gpt2"))
    assert found is not None
    named = ("transformer.wte.weight", "transformer.wpe.weight") if bond == "orthogonal" else ()
    assert found.orthogonal == named


def test_rwkv_draws_its_matrices_orthogonal() -> None:
    found = own_initialisation(AutoConfig.for_model("rwkv"))
    assert found is not None
    assert "rwkv.embeddings.weight" in found.orthogonal
    assert len(found.orthogonal) > 5


def test_weights_that_are_as_they_were_set_are_named() -> None:
    module = drawn_module(tiny_config("gpt2"), seed=0)
    assert constant_parameters(module) == ()
    with torch.no_grad():
        module.transformer.h[1].ln_1.weight.fill_(1)
        module.transformer.ln_f.bias.fill_(0)
        module.transformer.h[0].ln_2.bias.fill_(0.5)
    assert constant_parameters(module) == ("transformer.h.*.ln_1.weight", "transformer.ln_f.bias")
