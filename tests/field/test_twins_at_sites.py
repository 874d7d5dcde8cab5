"""Tokens that a site cannot tell apart though their embedding rows lie far apart: no answer names one of them alone."""

import itertools
from functools import cache

import pytest
import torch
import transformers as tf

import sipit
from sipit.inversion.flatness import says_few_bits
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from tests.sipit.cases import language_model, rest_slow
from tests.sipit.folders import drawn

VOCABULARY, WIDTH, TWINS = 1024, 64, 60
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 64, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip


def rows(seed):
    """Rows of very different lengths, so that the nearest ones say little."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.nn.functional.normalize(torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64))
    return found * 8, torch.exp(3 * torch.randn(VOCABULARY, 1, generator=generator, dtype=torch.float64)), generator


def beyond_a_projection():
    """One key and value head of 16 numbers, and twins that differ along what both projections leave out."""
    module = drawn(lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES, head_dim=16)))
    attention, norm = module.model.layers[0].self_attn, module.model.layers[0].input_layernorm
    made = torch.cat([attention.k_proj.weight, attention.v_proj.weight]).double() * norm.weight.double()
    _, _, basis = torch.linalg.svd(made)
    seen, unseen = basis[:32], basis[32:]
    table, lengths, generator = rows(5)
    for token in range(TWINS):
        kept = seen.T @ (seen @ table[token])
        other = unseen.T @ torch.randn(len(unseen), generator=generator, dtype=torch.float64)
        room = (table[token].norm() ** 2 - kept.norm() ** 2).clamp_min(0).sqrt()
        table[-1 - token] = kept + other / other.norm() * room
    return with_table(module, table * lengths)


def without_weight():
    """Norms of weight 0 at half of the coordinates, and twins that differ there alone."""
    module = drawn(lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES, head_dim=16)))
    half = WIDTH // 2
    with torch.no_grad():
        for layer in module.model.layers:
            layer.input_layernorm.weight[:half] = layer.post_attention_layernorm.weight[:half] = 0
        module.model.norm.weight[:half] = 0
    table, lengths, generator = rows(6)
    table = table * lengths
    for token in range(TWINS):
        order = torch.randperm(half, generator=generator)
        table[-1 - token] = table[token]
        table[-1 - token, :half] = table[token, :half][order]
    return with_table(module, table)


def beyond_a_clamp():
    """Queries, keys and values clamped so low that nearly all are one of two numbers."""
    module = drawn(lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**SIZES, clip_qkv=1e-4)))
    return with_table(module, rows(7)[0] * 8)


def with_table(module, table):
    with torch.no_grad():
        module.get_input_embeddings().weight.copy_(table.float())
    return language_model(module)


MODELS = {"projection": beyond_a_projection, "norm": without_weight, "clamp": beyond_a_clamp}
SITES = [
    ("projection", "keys,values", 0), ("projection", "keys", 0), ("projection", "attention-out", 1),
    ("norm", "keys", 0), ("norm", "keys", 1), ("norm", "normed", 0), ("norm", "normed", 1),
    ("norm", "attention-out", 1), ("norm", "mlp-out", 1), ("norm", "mlp-out", 2), ("norm", "logits", None),
    ("clamp", "values", 0), ("clamp", "keys", 0), ("clamp", "values", 1), ("clamp", "attention-out", 1),
]  # fmt: skip


@cache
def made(name):
    return MODELS[name]()


def prompts():
    """Of twins, and of others."""
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randint(TWINS, (40, 2), generator=generator)
    twin = torch.rand(40, 2, generator=generator) < 0.5
    found = torch.where(twin, VOCABULARY - 1 - tokens, tokens).tolist()
    return (
        [[token] for token, _ in found] + found[:20] + torch.randint(VOCABULARY, (60, 1), generator=generator).tolist()
    )


def met_by_chance(model, site, layer):
    """Tokens that show the same alone as others do, planted or not."""
    every = [[token] for token in range(VOCABULARY)]
    shown = torch.cat(list(sipit.capture(model, every, layer=layer, observe=site, batch=512)))
    _, number, counts = shown.unique(dim=0, return_inverse=True, return_counts=True)
    return [[token] for token in (counts[number] > 1).nonzero().flatten().tolist()[:20]]


@pytest.mark.parametrize("case", rest_slow(SITES[0], of=SITES), ids=str)
def test_no_token_is_named_whose_twin_shows_the_same(case):
    name, site, layer = case
    model = made(name)
    met = met_by_chance(model, site, layer)
    tried = prompts() + met
    states = sipit.capture(model, tried, layer=layer, observe=site)
    for prompt, inversion in zip(tried, sipit.invert(model, states), strict=True):
        told = [(result.token_id, token) for result, token in zip(inversion.tokens, prompt, strict=True)]
        assert all(found is None or found == token for found, token in told), (prompt, inversion)
        if inversion.outcome is Outcome.RECOVERED:
            assert list(inversion.token_ids) == prompt and prompt not in met


@pytest.mark.parametrize("name", rest_slow(next(iter(MODELS)), of=MODELS))
def test_nor_is_one_in_front_of_the_state_that_is_known(name):
    model = made(name)
    for token in itertools.chain(range(0, TWINS, 6), range(VOCABULARY - TWINS, VOCABULARY, 6)):
        prompt = [9, token, 300]
        states = sipit.capture(model, [prompt], layer=1)[0]
        found = invert_partial(model, states[2:], layer=1, positions=[2], known={0: 9, 2: 300}, budget=60)
        assert found.outcome is Outcome.AMBIGUOUS or found.nearest_token_ids == prompt
        assert found.segments[0].tested == VOCABULARY


@pytest.mark.parametrize("name", rest_slow("projection", of=["projection", "norm"]))
def test_nor_is_one_at_the_end_of_a_known_prefix(name):
    model = made(name)
    for token in itertools.chain(range(0, TWINS, 6), range(VOCABULARY - TWINS, VOCABULARY, 6)):
        states = sipit.capture(model, [[9, token]], layer=0, observe="keys,values")[0]
        found = invert_partial(
            model, states[1:], layer=0, observe="keys,values", positions=[1], known={0: 9}, budget=60
        )
        assert found.outcome is Outcome.AMBIGUOUS or found.nearest_token_ids == [9, token]


def test_a_row_of_two_values_says_one_bit_a_number_and_one_of_its_own_many():
    signs = torch.tensor([1.0, -1.0] * 20)
    assert says_few_bits(signs, 1024)
    assert not says_few_bits(torch.cat([signs, signs]), 1024)
    assert says_few_bits(torch.cat([signs, signs]), 2**41)
    assert not says_few_bits(torch.arange(4.0), 1024)
    assert says_few_bits(torch.arange(3.0), 1024)
    assert says_few_bits(torch.zeros(4096), 2)
