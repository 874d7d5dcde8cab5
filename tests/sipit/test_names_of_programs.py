"""What a name of another program is taken for: the one tensor that it can be in this model, or none."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RobertaConfig

import sipit
from sipit.models.hooks import hooked
from sipit.models.tiny import drawn_module
from sipit.states.readers.contents import Place
from sipit.states.readers.named import module_place
from tests.sipit.cases import language_model, tiny

IDS = [7, 300, 21, 5, 90]


@cache
def roberta():
    """A small decoder, some modules of which are called `output`."""
    config = RobertaConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, is_decoder=True,
    )  # fmt: skip
    return language_model(drawn_module(config, seed=0), name="toy-roberta")


def seen(model, module, side):
    """The rows that a module takes or returns for the ids."""
    kept = []

    def look(_module, arguments, named, output):
        given = output if side == "output" else (*arguments, *named.values())
        tensors = given if isinstance(given, tuple) else (given,)
        kept.extend(one[0].clone() for one in tensors if isinstance(one, torch.Tensor))

    with hooked([module.register_forward_hook(look, with_kwargs=True)]), torch.inference_mode():
        model.decoder.body(input_ids=torch.tensor([IDS]))
    return kept[0]


@settings(max_examples=8)
@given(data=st.data(), family=st.sampled_from(["roberta", "gemma3"]), side=st.sampled_from(["input", "output"]))
def test_a_path_leads_to_no_other_place_than_that_of_what_its_module_takes_or_returns(data, family, side):
    model = roberta() if family == "roberta" else tiny(family)
    names = sorted(name for name, module in model.module.named_modules() if name and not hasattr(module, "__len__"))
    name = data.draw(st.sampled_from(names))
    place = module_place(model, f"{name}.{side}")
    if place is not None:
        (rows,) = sipit.capture(model, [IDS], layer=place.layer, observe=place.site)
        assert torch.equal(seen(model, model.module.get_submodule(name), side), rows)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("layer.0", Place("residual", 1)),
        ("layer.0.output", Place("residual", 1)),
        ("layer.0.output.0", Place("residual", 1)),
        ("layer.1.input", Place("residual", 1)),
        ("layer.0.output.LayerNorm", Place("residual", 1)),
        ("layer.0.output.dense", None),
        ("layer.0.output.dense.output", None),
        ("layer.0.attention.output", None),
        ("layer.0.output.1", None),
        ("layer.0.output.nothing", None),
    ],
)
def test_a_module_called_output_is_one(path, place):
    assert module_place(roberta(), f"roberta.encoder.{path}") == place
