"""Networks that depend on how long the whole prompt is: two lengths are alike where all angles are."""

from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sipit.models.tiny import drawn_module
from tests.sipit.cases import language_model

NAMED = 2048


@cache
def rotated(context, **rope):
    """A Llama of one block whose rotary table is made anew beyond a length."""
    from transformers import LlamaConfig

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1}
    rope = {"rope_theta": 1e4} | {name: list(one) if isinstance(one, tuple) else one for name, one in rope.items()}
    config = LlamaConfig(**sizes, num_attention_heads=1, max_position_embeddings=context, rope_parameters=rope)
    return language_model(drawn_module(config, seed=0))


def angles(model, length):
    """Cosine and sine at all positions of a prompt, from the table as the library calls it."""
    places = torch.arange(length)[None]
    rotary = model.decoder.body.rotary_emb
    return torch.cat(rotary(torch.zeros(1, 1, 32), places), dim=-1)[0].double()


@settings(max_examples=15)
@given(length=st.integers(2, 20_000), more=st.integers(1, 3), factor=st.sampled_from([1.5, 2.0, 8.0]))
def test_dynamic_tables_are_alike_where_no_angle_differs(length, more, factor):
    model = rotated(NAMED, rope_type="dynamic", factor=factor)
    short, long = angles(model, length), angles(model, length + more)[:length]
    same = float((short - long).abs().max()) < 1e-4
    assert model.lengths.alike(length, length + more) == model.lengths.alike(length + more, length) == same
    assert same == (length + more <= NAMED)


def test_short_parts_stand_for_all_up_to_the_named_length():
    """A first token alone has the angle 0 in every network: it shows nothing of a longer prompt."""
    model = rotated(NAMED, rope_type="dynamic", factor=2.0)
    assert model.lengths.alike(1, NAMED) and not model.lengths.alike(1, NAMED + 1)


def test_a_table_that_changes_by_little_is_seen_to_change():
    """Beyond a long context the first positions are turned by next to nothing more, and the last ones are not."""
    model = rotated(131_072, rope_type="dynamic", factor=2.0)
    assert min(model.lengths.lengths) == 131_072
    assert not model.lengths.alike(131_072, 131_073)


def test_two_tables_are_two_networks():
    model = rotated(
        64, rope_type="longrope", short_factor=(1.0,) * 16, long_factor=(2.0,) * 16, factor=4.0,
        original_max_position_embeddings=32,
    )  # fmt: skip
    assert model.lengths.alike(33, 50) and model.lengths.alike(3, 32) and not model.lengths.alike(32, 33)
