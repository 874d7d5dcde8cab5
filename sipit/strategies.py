"""Hypothesis strategies for prompts, small models and what can happen to states; for your own test suite.

    from hypothesis import given
    from sipit import strategies

    @given(strategies.models().flatmap(lambda model: st.tuples(st.just(model), strategies.prompts(model))))
    def test_round_trip(drawn): ...

Needs the extra: pip install 'sipit[fuzz]'. Whatever is drawn prints as the code that makes it again, and shrinks to
short prompts of small ids, few blocks, unchanged weights and mild perturbations.
"""

from collections.abc import Sequence

import torch

from proofs.errors import MissingResource
from sipit.models import LanguageModel
from sipit.models.architecture import Architecture, Change, EqualRows, Scaled, Weights, ZeroedHead, build_model
from sipit.models.network import Layer
from sipit.models.tiny import FAMILIES
from sipit.models.tokenizers import token_ids_of
from sipit.prompts.builtin_text import within_context
from sipit.states.perturbations import Dropped, Noise, Permuted, Perturbation, Rescaled, Rounded, Steered, Swapped

try:
    from hypothesis import strategies as st
except ImportError:
    raise MissingResource(
        "Expected the package hypothesis, but it is not installed; install the extra: pip install 'sipit[fuzz]'."
    ) from None

_SEEDS = st.integers(0, 2**16)


def families() -> st.SearchStrategy[str]:
    """The names of the tiny families; shrinks to gpt2."""
    return st.sampled_from(tuple(FAMILIES))


def tokens(model: LanguageModel) -> st.SearchStrategy[int]:
    """Token ids of a model: any, and more often the ends of the vocabulary, special tokens and tokens of a class."""
    notable = {0, model.vocabulary_size - 1, *getattr(model.tokenizer, "all_special_ids", [])}
    classes = model.token_classes
    shared = (classes != torch.arange(len(classes), device=classes.device)).nonzero().flatten()[:16].tolist()
    notable |= {member for token in shared for member in (token, int(classes[token]))}
    inside = sorted(token for token in notable if 0 <= token < model.vocabulary_size)
    return st.integers(0, model.vocabulary_size - 1) | st.sampled_from(inside)


def prompts(model: LanguageModel, *, min_length: int = 1, max_length: int = 16) -> st.SearchStrategy[list[int]]:
    """Token ids of prompts: ordinary ones, runs of repeated tokens, and text where there is a tokenizer.

    Lengths in tokens; never beyond the context of the model.
    """
    longest = within_context(model, max_length)
    token = tokens(model)
    ordinary = st.lists(token, min_size=min_length, max_size=longest)
    runs = st.lists(st.tuples(token, st.integers(1, longest)), min_size=1, max_size=4)
    repeated = runs.map(lambda parts: [token for token, count in parts for _ in range(count)][:longest])
    kinds = ordinary | repeated.filter(lambda ids: len(ids) >= min_length)
    if model.tokenizer is None:
        return kinds
    written = st.text(min_size=1, max_size=longest).map(lambda text: token_ids_of(model.tokenizer, text)[:longest])
    in_range = written.filter(lambda ids: len(ids) >= min_length and max(ids, default=0) < model.vocabulary_size)
    return kinds | in_range


def layers(model: LanguageModel) -> st.SearchStrategy[Layer]:
    """The layers of a model: 0 to L, and `final` where there is a state after a final norm."""
    final: list[Layer] = ["final"] if model.decoder.chain.final_width else []
    return st.sampled_from([*range(model.layers + 1), *final])


def dtypes() -> st.SearchStrategy[torch.dtype]:
    """The floating-point types that models compute in; shrinks to float32."""
    return st.sampled_from((torch.float32, torch.float64, torch.bfloat16, torch.float16))


def architectures(names: Sequence[str] = tuple(FAMILIES)) -> st.SearchStrategy[Architecture]:
    """Small architectures of these families: 1 to 3 blocks, 1 to 4 heads, widths from 8, vocabularies from 32."""
    sizes = st.sampled_from([(heads, 2 * heads * times) for times in (8, 4, 16) for heads in (1, 2, 4)])
    return st.builds(
        lambda family, size, depth, vocabulary: Architecture(family, size[1], depth, size[0], vocabulary),
        st.sampled_from(tuple(names)),
        sizes,
        st.integers(1, 3),
        st.sampled_from((512, 32, 131)),
    )


def changes() -> st.SearchStrategy[Change]:
    """One change to weights: a scale by a power of two, a duplicated or nearly duplicated row, a head cut off."""
    parts = ("embed", "wte", "norm", "ln", "attn", "attention", "mlp", "weight", "bias")
    small = st.integers(0, 511)
    return st.one_of(
        st.builds(Scaled, st.sampled_from(parts), st.integers(-6, 6)),
        st.builds(EqualRows, small, small, st.sampled_from((0.0, 1e-3, 1e-5))),
        st.builds(ZeroedHead, st.integers(0, 2), st.integers(0, 3)),
    )


def weights() -> st.SearchStrategy[Weights]:
    """Parameters drawn from a density, with up to three changes."""
    return st.builds(Weights, _SEEDS, st.lists(changes(), max_size=3).map(tuple))


def models(
    names: Sequence[str] = tuple(FAMILIES), *, dtype: torch.dtype = torch.float32
) -> st.SearchStrategy[LanguageModel]:
    """Small models, ready to run; a few milliseconds each."""
    return st.builds(build_model, architectures(names), weights(), dtype=st.just(dtype))


def perturbations() -> st.SearchStrategy[Perturbation]:
    """What can happen to states: noise, rounding, rows swapped, permuted, dropped or steered, a constant factor."""
    rows = st.integers(0, 31)
    powers = st.integers(-9, -1).map(lambda power: 10.0**power)
    return st.one_of(
        st.builds(Noise, powers, _SEEDS),
        st.builds(Rounded, st.sampled_from((torch.bfloat16, torch.float16)), st.booleans()),
        st.builds(Swapped, rows, rows),
        st.builds(Permuted, _SEEDS),
        st.builds(Rescaled, st.integers(-4, 4).map(lambda power: 2.0**power)),
        st.builds(Dropped, st.integers(1, 4)),
        st.builds(Steered, rows, _SEEDS),
    )
