"""Prompts with equal keys have equal states for these weights and any others; prompts with different keys have not."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import Llama4TextConfig, RobertaConfig, RobertaForCausalLM

import sipit
from sipit.collisions.causes import Cause
from sipit.collisions.known import Families, families_at, known_collisions
from sipit.models.language_model import LanguageModel
from sipit.models.tiny import drawn_module
from sipit.prompts.windows import Prefixes
from tests.sipit.cases import altered, language_model, rest_slow, tiny, with_rows

EVERY = [ids for length in range(1, 5) for ids in itertools.product((3, 5, 9), repeat=length)]


# Two blocks that look back two tokens reach three: the longest of these prompts is longer.
def narrow(module):
    module.config.sliding_window = 2


def chunked(size: int) -> LanguageModel:
    """Blocks that attend in chunks: of a prompt of `size` + 1 tokens the last one is alone in its chunk."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "intermediate_size_mlp": 64, "head_dim": 8}
    config = Llama4TextConfig(
        vocab_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, num_local_experts=2,
        max_position_embeddings=128, attention_chunk_size=size, no_rope_layers=[1, 1], pad_token_id=0, bos_token_id=1,
        eos_token_id=2, **shape,
    )  # fmt: skip
    return language_model(drawn_module(config, seed=0).double())


MODELS = {
    "qwen2": lambda: sipit.load_model("tiny-qwen2", dtype="float64"),
    "gpt2": lambda: sipit.load_model("tiny-gpt2", dtype="float64"),
    "bloom": lambda: sipit.load_model("tiny-bloom", dtype="float64"),
    "narrow-mistral": lambda: altered("mistral", narrow, dtype=torch.float64),
    "llama4-in-chunks-of-3": lambda: chunked(3),
    "llama4-in-chunks-of-2": lambda: chunked(2),
    "equal-rows": lambda: sipit_double(with_rows("qwen2", [(3, 5)])),
}


def sipit_double(model: LanguageModel) -> LanguageModel:
    return LanguageModel(model.name, model.module.double(), model.tokenizer, model.digest, model.decoder, torch.float64)


def prompts_of(sequences):
    lengths = np.array([len(ids) for ids in sequences])
    return Prefixes(tuple(map(tuple, sequences)), np.arange(len(sequences)), lengths)


@pytest.mark.parametrize("layer", [0, pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("name", rest_slow(*(MODELS.keys() - {"llama4-in-chunks-of-2"}), of=MODELS))
def test_equal_keys_mean_equal_states_and_different_keys_different_ones(name, layer):
    model = MODELS[name]()
    known = known_collisions(prompts_of(EVERY), model.token_classes.numpy(), families_at(model, layer))
    states = np.stack([rows[-1].numpy() for rows in sipit.capture(model, [list(ids) for ids in EVERY], layer=layer)])
    scale = np.linalg.norm(states, axis=1).max()
    distances = np.linalg.norm(states[:, None] - states[None], axis=2) / scale
    same = known.first[:, None] == known.first[None]
    assert distances[same].max() < 1e-6  # transformers keep some of the arithmetic in float32
    # What ALiBi makes of powers of one word at layer 1 is not read off the graph.
    if (name, layer) != ("bloom", 1):
        assert distances[~same].min() > 1e-5


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_a_token_that_has_one_place_everywhere_says_nothing_of_others(padding):
    """Padding of RoBERTa: every other token has a place, so that no run of one collides at layer 0."""
    shape = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(
        **shape, intermediate_size=16, max_position_embeddings=64, is_decoder=True, pad_token_id=padding
    )
    torch.manual_seed(0)
    model = language_model(RobertaForCausalLM(config).eval().requires_grad_(False))
    runs = [(token,) * length for token in range(6) for length in (1, 2, 4)]
    known = known_collisions(prompts_of(runs), model.token_classes.numpy(), families_at(model, 0))
    states = torch.stack([rows[-1] for rows in sipit.capture(model, [list(ids) for ids in runs], layer=0)])
    assert all(torch.equal(states[a], states[b]) for a, b in known.listed(100))


FAMILIES = (
    Families(repeats=True, permutations=False, reach=None, back=0, anywhere=True, lengths=(2, 3)),
    Families(repeats=True, permutations=False, reach=3, back=1, anywhere=True, lengths=(2, 3)),
    Families(repeats=False, permutations=False, reach=2, back=1, anywhere=False, lengths=(2, 3)),
    Families(repeats=True, permutations=True, reach=None, back=0, anywhere=True, lengths=(2, 3)),
    Families(repeats=True, permutations=False, reach=3, back=0, anywhere=True, chunked=True),
    Families(repeats=False, permutations=False, reach=2, back=0, anywhere=False, chunked=True),
    Families(repeats=True, permutations=False, reach=1, back=0, anywhere=True),
)
SAME = np.where(np.arange(10) == 5, 3, np.arange(10))  # two tokens with equal embedding rows


@pytest.mark.parametrize("families", FAMILIES)
def test_pairs_are_counted_by_the_cause_that_each_has(families):
    known = known_collisions(prompts_of(EVERY), SAME, families)
    pairs = [pair for group in known.groups for pair in itertools.combinations(group, 2)]
    causes = Counter(families.cause(*(SAME[list(EVERY[prompt])].tolist() for prompt in pair)) for pair in pairs)
    assert known.pairs == len(pairs) and {cause: n for cause, n in known.causes.items() if n} == dict(causes)
    assert sorted(known.listed(10**6)) == sorted(pairs) and len(list(known.listed(7))) == 7
    everything = itertools.combinations(range(len(EVERY)), 2)
    explained = [p for p in everything if families.cause(*(SAME[list(EVERY[n])].tolist() for n in p))]
    assert sorted(explained) == sorted(pairs)


def is_instance(claim, first, second, families):
    """Whether a pair of prompts (as classes) is an instance of the theorem that a claim names, read off its words."""
    agree = next((n for n, (a, b) in enumerate(zip(first[::-1], second[::-1], strict=False)) if a != b), len(first))
    shorter = min(len(first), len(second))
    in_reach = families.reach is not None and not families.chunked and families.reach <= min(agree, shorter)
    tails = [{one[n:] for n in range(families.back, len(one)) if len({*one[:n]}) == 1} for one in (first, second)]
    return {
        "equal embedding rows": first == second,
        "window reach": in_reach and len(first) == len(second),
        "window reach, two lengths": in_reach and families.anywhere,
        "repeated tokens": families.repeats and len({*first, *second}) == 1,
        "permuted prefixes": families.permutations and first[-1] == second[-1] and sorted(first) == sorted(second),
        "long runs": families.repeats and not families.chunked and first[0] == second[0] and bool(tails[0] & tails[1]),
    }[claim]


@pytest.mark.parametrize("families", FAMILIES)
def test_a_theorem_is_named_where_a_pair_is_an_instance_of_it(families):
    """One pair of any family was named by the theorems of all, as shown, at lengths at which nothing was."""
    known = known_collisions(prompts_of(EVERY), SAME, families)
    of_pairs, shown = set(), set()
    for group in known.groups:
        for pair in itertools.combinations(group, 2):
            first, second = (tuple(SAME[list(EVERY[prompt])].tolist()) for prompt in pair)
            claims = families.claims([first, second])
            assert all(is_instance(claim, first, second, families) for claim in claims), (claims, first, second)
            of_pairs |= claims
            if {len(first), len(second)} <= {*families.lengths}:
                shown |= claims & {"repeated tokens", "permuted prefixes"}
    assert of_pairs == {*known.claims} and shown == {*known.shown}
    if families.chunked:  # what is seen begins at a border, and of that there is no theorem
        assert not {*known.claims} & {"window reach", "window reach, two lengths", "long runs"}


def test_of_pairs_at_other_lengths_nothing_is_called_shown():
    families = Families(repeats=True, permutations=False, reach=7, back=3, anywhere=True, lengths=(2, 3))
    assert families.claims([(5,), (5, 5)]) == {"repeated tokens"} and families.shown([(5,), (5, 5)]) == set()
    assert families.shown([(5, 5), (5, 5, 5)]) == {"repeated tokens"}
    assert families.claims([(5, 5, 5, 7), (5, 5, 5, 5, 7)]) == {"long runs"}
    assert families.claims([(9, 9, *[5] * 6, 7), (5, 5, 5, 7)]) == set()  # two steps: cut to its reach, and a run then
    mixing = Families(repeats=True, permutations=True, reach=None, back=0, anywhere=True, lengths=(2, 3))
    assert mixing.claims([(1, 2, 3), (2, 1, 3)]) == {"permuted prefixes"} == mixing.shown([(1, 2, 3), (2, 1, 3)])
    assert mixing.shown([(1, 1, 2, 3), (2, 1, 1, 3)]) == set() and mixing.claims([(5,), (5, 5)]) == {"repeated tokens"}


def test_every_group_is_listed_early():
    families = Families(repeats=True, permutations=False, reach=None, back=0, anywhere=True)
    runs = prompts_of([(token,) * length for token in range(4) for length in range(1, 9)])
    known = known_collisions(runs, np.arange(10), families)
    assert {pair[0] for pair in known.listed(4)} == {0, 8, 16, 24}


def test_a_trained_shape_with_bos_has_no_special_treatment():
    families = families_at(tiny("llama"), 2)
    assert families.repeats and families.reach is None and families.anywhere
    assert families.cause([256, 5], [256, 5, 5]) is None and families.cause([5], [5, 5]) is Cause.STRUCTURAL
