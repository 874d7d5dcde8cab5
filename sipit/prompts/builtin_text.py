"""Text that every Python carries: what probes are trained on, noise is measured on, and the demo inverts."""

import pydoc_data.topics
from collections.abc import Iterator

import torch

from sipit.models import LanguageModel
from sipit.models.tokenizers import token_ids_of

_MISSES = 100  # windows in a row that are too short, before a tokenizer is given up


def sections() -> list[str]:
    """The sections of `pydoc_data.topics` (465 KB of English about Python), by name."""
    return [text for _, text in sorted(pydoc_data.topics.topics.items())]


def within_context(model: LanguageModel, length: int, *, least: int = 1) -> int:
    """So many tokens of a prompt that is made here, or as many as the context has, but `least`."""
    return max(least, min(length, model.context or length))


def section_prompts(model: LanguageModel, *, count: int, length: int, headings: bool = True) -> list[list[int]]:
    """The first `length` tokens of `count` sections spread over the corpus, with their headings or behind them.

    Fewer where the corpus has not as many sections of that length, or the model has no tokenizer.
    """
    if model.tokenizer is None:
        return []
    texts = sections() if headings else [text.partition("\n\n")[2].lstrip() for text in sections()]
    long = [ids for text in texts if len(ids := _token_ids(model, text[: 8 * length])) >= length]
    step = max(1, len(long) // count)
    return [ids[:length] for ids in long[::step][:count]]


def text_windows(model: LanguageModel, *, length: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Windows of `length` tokens at random places of the corpus, without end.

    Yields none where there is no tokenizer, or one whose tokens are so long that no window is found.
    """
    if model.tokenizer is None:
        return
    text = "\n".join(sections())
    misses = 0
    while misses < _MISSES:
        # A window is cut from the text before it is tokenised, so that the cost is that of the window.
        start = int(torch.randint(len(text) - 8 * length, (1,), generator=generator))
        ids = _token_ids(model, text[start : start + 8 * length])
        if len(ids) >= length:
            misses = 0
            yield ids[:length]
        else:
            misses += 1


def random_tokens(model: LanguageModel, shape: tuple[int, ...], *, generator: torch.Generator) -> torch.Tensor:
    """Token ids drawn uniformly from the rows of the embedding."""
    return torch.randint(model.vocabulary_size, shape, generator=generator)


def _token_ids(model: LanguageModel, text: str) -> list[int]:
    """The ids of a text, without those that the embedding has no row for: a tokenizer may know more tokens."""
    return [token for token in token_ids_of(model.tokenizer, text) if token < model.vocabulary_size]
