"""What stands for a token in a probe: its embedding row, or the state behind the first block; kept, and made anew."""

from functools import partial

import pytest
import torch

from sipit.cache import keep_tensors, kept_tensors
from sipit.inversion.probes import kept_probes, probes_key, trained_probes
from sipit.inversion.token_rows import token_rows
from sipit.models.network import Network
from tests.sipit.cases import ALL_FAMILIES, altered, tiny


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("layer", [0, 1])
def test_rows_are_the_states_of_tokens_alone(empty_cache, monkeypatch, family, layer):
    model = tiny(family)
    rows = token_rows(model, layer)
    alone = Network(model, 1).run(torch.arange(model.vocabulary_size)[:, None])[:, 0]
    plain = alone if layer else model.decoder.tables[0].weight
    torch.testing.assert_close(rows, plain - plain.mean(0), rtol=0.01, atol=0.01 * float(plain.abs().max()))
    monkeypatch.setattr(Network, "run", None)  # they are kept
    assert torch.equal(rows, token_rows(model, layer))


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: rows[:-1],
        lambda rows: rows[:, 1:],
        lambda rows: rows * torch.nan,
        lambda rows: rows[0],
        lambda rows: rows.float(),
        lambda rows: rows.to(torch.float8_e4m3fn),
        lambda rows: rows.int(),
    ],
)
def test_damaged_rows_are_made_anew(empty_cache, damage):
    model = tiny("gpt2")
    rows = token_rows(model, 1)
    (path,) = empty_cache.rglob("token-rows/*.safetensors")
    key = str(path.relative_to(empty_cache))
    keep_tensors(key, {"rows": damage(kept_tensors(key)["rows"]).clone()})
    assert torch.equal(rows, token_rows(model, 1))


def test_what_all_tokens_have_in_common_does_not_round_their_differences(empty_cache):
    def shift(module):
        module.transformer.h[0].mlp.c_proj.bias += 300

    rows = token_rows(altered("gpt2", shift), 1)
    plain = token_rows(tiny("gpt2"), 1)
    assert float((rows - plain).norm() / plain.norm()) < 0.01


def test_where_a_first_block_is_not_finite_the_embedding_stands_for_tokens(empty_cache):
    def overflow(module):
        module.get_input_embeddings().weight[7] = 1e38

    model = altered("gpt2", overflow)
    assert torch.equal(token_rows(model, 1), token_rows(model, 0))


@pytest.mark.parametrize(("family", "expected"), [("llama", 0), ("mamba", 1)])
def test_those_rows_are_taken_by_which_held_out_tokens_are_ranked_higher(empty_cache, family, expected):
    network = Network(tiny(family), 2)
    probes = trained_probes(network)
    rows_at = partial(token_rows, network.model)
    assert probes.rows_of == expected and torch.equal(probes.later.rows, rows_at(expected))
    assert kept_probes(probes_key(network.model, network.place), rows_at).rows_of == expected


def test_at_layer_0_the_embedding_is_all_there_is(empty_cache):
    trained_probes(Network(tiny("gpt2"), 0))
    assert not list(empty_cache.rglob("token-rows/*"))
