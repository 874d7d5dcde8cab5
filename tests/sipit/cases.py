"""Models, prompts and checks that the tests of `sipit` share."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch

import sipit
from sipit.claims.check import check_model
from sipit.inversion.inverter import Inverter, matches_truth
from sipit.inversion.outcome import Outcome
from sipit.inversion.policies import POLICIES
from sipit.models.architecture import language_model_of
from sipit.models.tiny import FAMILIES, tiny_module, tiny_tokenizer

COMMANDS = (
    "demo", "check", "capture", "invert", "collide", "compare", "audit", "leak", "quantization", "fuzz", "train",
    "report", "certify", "verify", "download", "doctor", "prove witness",
    "prove generic-position", "prove training-step",
)  # fmt: skip

# Every policy; descents are slow, and what they share with the others is tested with these.
EACH_POLICY = [pytest.param(name, marks=pytest.mark.slow if name == "gradient" else ()) for name in POLICIES]
ALL_FAMILIES = tuple(FAMILIES)
# One of every kind of position, memory and block; the others say the same again, in the slow tests and at the edges.
KINDS = ("gpt2", "llama", "bloom", "gemma3", "mixtral", "mamba")


def rest_slow(*plain, of):
    """Cases of which those named are plain, and the rest slow; one that says so itself stays as it is."""
    own = type(pytest.param())
    return [one if one in plain or isinstance(one, own) else pytest.param(one, marks=pytest.mark.slow) for one in of]


EACH_KIND = rest_slow(*KINDS, of=ALL_FAMILIES)
PAPER_SIX = ("gpt2", "gpt-neo", "gemma3", "llama", "mistral", "phi3")
SETTLED = {Outcome.RECOVERED, Outcome.AMBIGUOUS}


@cache
def tiny(family, dtype="float32"):
    """A tiny model, loaded once; nobody may change it."""
    return sipit.load_model(f"tiny-{family}", dtype=dtype)


@cache
def checked(name):
    """The record of `sipit check` for a tiny model, made once; nobody may change it."""
    return check_model(name)


def language_model(module, *, tokenizer=None, name="toy"):
    """A `LanguageModel` around a module made by a test."""
    return language_model_of(name, module, tokenizer=tokenizer)


def altered(family, change, *, dtype=torch.float32):
    """The tiny model of a family after `change(module)`, with another digest if a weight changed."""
    module = copy.deepcopy(tiny_module(family, seed=0)).to(dtype)
    with torch.no_grad():
        change(module)
    return language_model(module, tokenizer=tiny_tokenizer(family), name=f"altered-{family}")


def with_rows(family, pairs, *, relative=0.0):
    """A tiny model where row b is row a (times 1 + relative in its first half), for each pair (a, b)."""

    def change(module):
        rows = module.get_input_embeddings().weight
        for a, b in pairs:
            rows[b] = rows[a]
            rows[b, : rows.shape[1] // 2] *= 1 + relative

    return altered(family, change)


def random_prompts(count, *, longest=32, vocabulary=512, seed=0, shortest=1):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in lengths]


def inverted(model, states, truth=None, **options):
    """The inversions of all tensors, compared with the truth where it is given."""
    return Inverter.open(model, states, **options).invert_all(states, truth=truth)


def assert_recovers(model, states, prompts, **options):
    """Every prompt comes back, exactly, and every token with a residual inside the tolerance."""
    inverter = Inverter.open(model, states, **options)
    inversions = inverter.invert_all(states, truth=prompts)
    assert len(inversions) == len(prompts)
    for inversion, prompt in zip(inversions, prompts, strict=True):
        assert inversion.token_ids == prompt
        assert inversion.outcome is Outcome.RECOVERED
        assert inversion.matches_truth is True
        assert inversion.largest_residual <= inverter.tolerance.value
        assert inversion.smallest_margin > inverter.tolerance.value
    return inversions


def assert_consistent(inversion, length):
    """What holds for every answer: one entry per position, none invented, the outcome that of its tokens."""
    assert len(inversion.token_ids) == len(inversion.tokens) == length
    assert [token.position for token in inversion.tokens] == list(range(length))
    assert [token.token_id for token in inversion.tokens] == inversion.token_ids
    assert (inversion.text is None) == (None in inversion.token_ids)
    outcomes = {token.outcome for token in inversion.tokens}
    assert (inversion.outcome is Outcome.RECOVERED) == (outcomes == {Outcome.RECOVERED})
    explained = {alternative.position for alternative in inversion.alternatives}
    open_before = False
    for token in inversion.tokens:
        if token.outcome is not Outcome.RECOVERED:
            assert token.position in explained
        if token.outcome in {Outcome.NOT_FOUND, Outcome.BUDGET_EXHAUSTED}:
            assert token.token_id is None
        # Behind a position without a token, nothing is verified.
        assert not (open_before and token.token_id is not None)
        open_before = open_before or token.token_id is None


def assert_never_wrong(model, inversion, truth):
    """No position names a token of another class than the true one."""
    assert_consistent(inversion, len(truth))
    classes = model.token_classes
    for found, true in zip(inversion.token_ids, truth, strict=True):
        assert found is None or found == int(classes[true])
    if inversion.outcome is Outcome.RECOVERED:
        assert matches_truth(model, inversion, truth)


def answers(inversions):
    """What must not depend on the order of the search: outcomes and ids, position by position."""
    return [
        (inversion.outcome, inversion.token_ids, [token.outcome for token in inversion.tokens])
        for inversion in inversions
    ]


def relabelled(states, arrays):
    """States with other arrays and the same manifest."""
    return replace(states, arrays=tuple(arrays))
