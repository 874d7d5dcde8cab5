"""A bound is of the network that the library runs, or there is none."""

import random

import numpy as np
import pytest
import torch
import transformers as tf

from numerics.graphs.capture import capture_graph
from numerics.graphs.float64 import evaluate_float64
from proofs.errors import Unsupported
from sipit.claims.certify import certify
from sipit.claims.same_network import expect_same_network, graphs_as_it_runs
from sipit.claims.weights import weights_of
from sipit.models.layers import layered_states
from sipit.models.tiny import FAMILIES, drawn_module
from tests.sipit.cases import language_model, rest_slow, tiny

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}


def rwkv(rescale_every):
    sizes = {"attention_hidden_size": 32, "intermediate_size": 48, "context_length": 64}
    return language_model(drawn_module(tf.RwkvConfig(**SIZES, **sizes, rescale_every=rescale_every), seed=0))


def bent():
    """A Falcon whose ALiBi table its class rounds to bfloat16, in every type that it runs in."""
    config = tf.FalconConfig(
        **SIZES, num_attention_heads=16, alibi=True, new_decoder_architecture=False, multi_query=False
    )
    return language_model(drawn_module(config, seed=0))


@pytest.mark.parametrize("family", rest_slow("gpt2", "mixtral", "mamba", of=sorted(FAMILIES)))
@pytest.mark.parametrize("dtype", rest_slow("float64", "bfloat16", of=["float32", "float64", "bfloat16"]))
def test_the_graph_of_every_family_is_taken_for_what_it_is(family, dtype):
    model, draw = tiny(family, dtype), random.Random(family)
    layer = draw.randint(0, 2)
    rows = [[draw.randrange(256) for _ in range(length)] for length in (1, 9)]
    graphs = [capture_graph(model.module.config, layer, length=len(row), stored=True) for row in rows]
    weights, _ = weights_of(model, graphs)
    expect_same_network(model, graphs, rows, weights)
    if dtype == "bfloat16":
        return  # whose rounding hides more
    name = next(name for name, type in graphs[1].parameters() if type.shape[0] == model.vocabulary_size)
    # Not by one factor, which a norm of the rows takes away again.
    weights[name] = weights[name] * (1 + 0.05 * np.cos(np.arange(weights[name].size))).reshape(weights[name].shape)
    with pytest.raises(Unsupported, match="where rounding explains"):
        expect_same_network(model, graphs[1:], rows[1:], weights)


def test_weights_that_a_first_run_rescales_are_not_rescaled_again():
    model, rows = rwkv(1), [[1, 2, 3], [4, 5]]
    graphs_as_it_runs(model, 1, rows)
    with pytest.raises(Unsupported, match=r"RwkvForCausalLM does, but for \d tokens their states at layer 2"):
        graphs_as_it_runs(model, 2, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({}, "separated"),
        ({"vocabulary": 9}, "undecided"),  # radii in float64 are too wide behind the exponentials of an RWKV
        ({"vocabulary": 9, "bits": 60}, "separated"),
    ],
    ids=str,
)
def test_no_bound_is_of_another_network(options, verdict):
    rows = [[1, 2, 3]] if options else [[1, 2, 3], [4, 5]]
    assert certify(rwkv(6), rows, layer=2, budget=False, **options).verdict == verdict
    with pytest.raises(Unsupported, match="where rounding explains"):
        certify(rwkv(1), rows, layer=2, budget=False, **options)


def test_a_table_that_its_class_rounds_is_the_rounded_one():
    model, tokens = bent(), [5, 9, 5, 60, 2, 7, 7, 7, 30, 1, 4, 3, 2]
    graph = capture_graph(model.module.config, attention="sdpa", length=len(tokens), stored=True)
    exact = evaluate_float64(graph, model.module.state_dict(), tokens)[0]
    model.module.double()
    torch.testing.assert_close(layered_states(model, tokens, [2])[0], exact, rtol=1e-9, atol=1e-9)


def test_the_attention_that_runs_is_the_one_that_is_captured():
    """With ALiBi a Falcon scales the table in one kind of attention and not in the other."""
    rows = [[5, 9, 7]]
    (graph,), weights, _ = graphs_as_it_runs(bent(), 1, rows)
    assert graph.about["attention"] == "sdpa"
    other = capture_graph(bent().module.config, 1, "eager", length=3, stored=True)
    with pytest.raises(Unsupported, match="FalconForCausalLM does"):
        expect_same_network(bent(), [other], rows, weights)
    assert graphs_as_it_runs(tiny("gpt2"), 1, rows)[0][0].about["attention"] == "eager"
