"""Corpora of a collision search: from files, folders, the built-in text, streams or chance to distinct prompts.

Files name their prompts one by one; running text is cut into windows, of which every prefix is a prompt.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proofs.arguments import whole_in
from proofs.errors import InvalidInput, MissingResource
from sipit.models import LanguageModel
from sipit.models.tokenizers import token_ids_of
from sipit.prompts.builtin_text import random_tokens
from sipit.prompts.docstrings import builtin_documents
from sipit.prompts.reading import read_prompts, special_ends, text_in, tokenize
from sipit.prompts.windows import Prefixes, cut, prefixes

WINDOW = 32  # tokens
BUILTIN, STREAM, RANDOM = "builtin", "datasets:", "random:"
_TEXT_FILES = (".txt", ".md", ".rst", ".py")


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Distinct prompts to compare.

    Attributes:
        name: where they come from.
        prompts: all different as token sequences.
        numbers: shape (prompts,), int64: what the record calls each prompt. In a prompt file that is its place among
            the prompts of the file, from 0 (the first of equal ones).
        drawn: how many prompts there were before equal ones were made one; None where only distinct ones were asked
            for.
        independent: whether they were drawn independently from one distribution.
    """

    name: str
    prompts: Prefixes
    numbers: NDArray[np.int64]
    drawn: int | None = None
    independent: bool = False

    def __len__(self) -> int:
        return len(self.prompts)


def read_corpus(
    model: LanguageModel,
    source: str,
    *,
    window: int = WINDOW,
    limit: int | None = None,
    special_tokens: bool = True,
    seed: int = 0,
) -> Corpus:
    """The distinct prompts of a source, at most `limit`.

    Args:
        source: a prompt file (.txt, .jsonl; every line is a prompt), a folder of text files, `builtin` (the text that
            Python carries), `datasets:NAME` (the column `text` of the training split, streamed), or `random:LENGTH`
            (independent uniform token ids; needs a limit).
        window: tokens of a window of running text; every prefix of every window is a prompt. Special tokens that the
            tokenizer puts in front are put in front of every window, and count.
        limit: reading ends there.
        special_tokens: whether text gets the tokenizer's special tokens.
        seed: of random prompts.

    Raises:
        InvalidInput: no such source, no prompt or only one in it, or an argument that cannot be.
        MissingResource: a stream without the package that reads it.
    """
    check_extent(window, limit)
    if source.startswith(RANDOM):
        corpus = _random(model, source, limit, seed)
    elif source != BUILTIN and os.path.isfile(source):  # not Path.is_file, which raises at a name that is too long
        ids = tokenize(model, read_prompts(Path(source)), special_tokens=special_tokens)
        corpus = whole_prompts(source, ids, limit=limit)
    else:
        windows = _windows(model, _documents(source), window, special_tokens)
        found = prefixes(windows, limit=limit)
        corpus = Corpus(source, found, np.arange(len(found)))
    if len(corpus) < 2:
        raise InvalidInput(f"Expected at least two different prompts, but {source} has {len(corpus)}; add some.")
    longest = max(map(len, corpus.prompts.windows))
    if model.context is not None and longest > model.context:
        raise InvalidInput(
            f"Expected at most {model.context} tokens, the context of {model.name}, but {source} has windows or "
            f"prompts of {longest}; shorten them or lower --window."
        )
    return corpus


def check_named(source: str | None) -> None:
    """Raises InvalidInput where `builtin` is named and something here is called so: which is meant is not guessed."""
    if source == BUILTIN and os.path.exists(BUILTIN):
        raise InvalidInput(
            f"Expected the name of one source of prompts, but {BUILTIN!r} is both the built-in text and a file or "
            f"folder here; write ./{BUILTIN} for what is here, or leave --prompts away for the built-in text."
        )


def check_extent(window: int, limit: int | None) -> None:
    """Raises InvalidInput for a window of no token, or a limit of fewer than two prompts."""
    if window < 1 or (limit is not None and limit < 2):
        raise InvalidInput(
            f"Expected a window of at least 1 token and a limit of at least 2, but got {window=}, {limit=}; raise them."
        )


def whole_prompts(
    name: str, token_ids: Iterable[list[int]], *, limit: int | None = None, independent: bool = False
) -> Corpus:
    """Prompts as they are, without their prefixes; equal ones are one. They are kept in the order of their lengths."""
    first: dict[tuple[int, ...], int] = {}
    drawn = 0
    for number, ids in enumerate(token_ids):
        if limit is not None and len(first) >= limit:
            break
        first.setdefault(tuple(ids), number)
        drawn = number + 1
    windows = tuple(sorted(first, key=lambda ids: (len(ids), first[ids])))
    lengths = np.array([len(ids) for ids in windows], dtype=np.int64)
    numbers = np.array([first[ids] for ids in windows], dtype=np.int64)
    return Corpus(name, Prefixes(windows, np.arange(len(windows)), lengths), numbers, drawn, independent)


def _random(model: LanguageModel, source: str, limit: int | None, seed: int) -> Corpus:
    length = whole_in(source.removeprefix(RANDOM))
    if length is None or length < 1 or limit is None:
        raise InvalidInput(f"Expected random:LENGTH together with a limit, but got {source}, {limit=}; give both.")
    generator = torch.Generator().manual_seed(seed)
    rows = random_tokens(model, (limit, length), generator=generator).tolist()
    return whole_prompts(source, rows, independent=True)


def _documents(source: str) -> Iterator[str]:
    if source == BUILTIN:
        return builtin_documents()
    if source.startswith(STREAM):
        return _stream(source.removeprefix(STREAM))
    if not os.path.isdir(source):
        raise InvalidInput(
            f"Expected prompts from a file, a folder, builtin, {STREAM}NAME or {RANDOM}LENGTH, but there is no "
            f"{source}; check the name."
        )
    files = _texts_in(source)
    if not files:
        raise InvalidInput(f"Expected text files ({', '.join(_TEXT_FILES)}) in {source}, but it has none; add some.")
    return (text_in(path, "text file") for path in files)


def _texts_in(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in _TEXT_FILES and path.is_file())


def check_no_text(output: Path | None, source: str | None) -> None:
    """Raises InvalidInput where a page is, or would be, one of the texts of a folder that are searched."""
    if output is None or source is None or output.suffix not in _TEXT_FILES or not os.path.isdir(source):
        return
    place = output.parent.resolve()
    inside = any(os.path.samefile(source, one) for one in (place, *place.parents))
    if inside or (output.exists() and any(os.path.samefile(output, text) for text in _texts_in(source))):
        raise InvalidInput(
            f"Expected a page outside the texts that are searched, but {output} is one of those in {source}, or would "
            "be; choose another name."
        )


def _stream(name: str) -> Iterator[str]:
    if find_spec("datasets") is None:
        raise MissingResource(
            "Expected the package datasets for a stream of prompts, but it is not installed; pip install datasets"
        )
    from datasets import load_dataset  # pyright: ignore[reportMissingImports] - not a dependency; see above

    rows: Any = load_dataset(name, split="train", streaming=True)
    return (str(row["text"]) for row in rows)


def _windows(
    model: LanguageModel, documents: Iterator[str], length: int, special_tokens: bool
) -> Iterator[tuple[int, ...]]:
    """Windows of all documents, with the tokenizer's leading special tokens in front of each if they are wanted."""
    if model.tokenizer is None:
        raise InvalidInput(f"Expected token ids, because {model.name} has no tokenizer, but got text; give token_ids.")

    front = special_ends(model)[0] if special_tokens else ()
    if length <= len(front):
        raise InvalidInput(f"Expected a window longer than {len(front)} special tokens, but got {length}; raise it.")
    for text in documents:
        for window in cut(token_ids_of(model.tokenizer, text, special_tokens=False), length - len(front)):
            yield front + window
