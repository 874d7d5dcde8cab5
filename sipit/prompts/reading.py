"""Prompts: from text or files to token ids, each checked against the model before anything is computed."""

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from proofs.arguments import shown
from proofs.errors import InvalidInput
from proofs.evidence import without_repetition
from proofs.files import whole_file
from sipit.models import LanguageModel
from sipit.models.library import asked
from sipit.models.tokenizers import NO_TOKENIZER, special_ends_of, token_ids_of
from sipit.prompts.given import Prompt, given_prompts

LARGEST_FILE = 2**30  # bytes of a prompt file
_LONG, _CHARACTERS = 2**22, 64  # of a prompt whatever the context, and for each token of it
Ids = TypeVar("Ids", bound=Sequence[int])


def tokenize(
    model: LanguageModel, prompts: Any, *, special_tokens: bool = True, called: str | None = None
) -> list[list[int]]:
    """Token ids of prompts. Text is tokenised as the tokenizer does by default; ids are taken as given.

    Prompts are a list of texts and lists of ids, or whatever else can mean them (`sipit.prompts.given`). `called` is
    what errors call the one that there is; by default prompts have their numbers.

    Raises:
        InvalidInput: no prompts, an empty one, one beyond the context, an id out of range, or text without tokenizer.
        Unsupported: text that the tokenizer refuses.
    """
    with asked(f"Expected text that the tokenizer of {model.name} takes", "give token_ids"):
        given = given_prompts(prompts)
        ids = [_ids(model, prompt, special_tokens) for prompt in given]
    return [
        _checked(model, one, called or f"prompt {n}", prompt)
        for n, (one, prompt) in enumerate(zip(ids, given, strict=True))
    ]


def first_alike(prompts: Sequence[Sequence[int]]) -> list[int]:
    """For each prompt the number of the first of the same tokens: copies are draws of one prompt, no further ones."""
    first: dict[tuple[int, ...], int] = {}
    return [first.setdefault(tuple(ids), number) for number, ids in enumerate(prompts)]


def different(prompts: Sequence[Ids]) -> list[Ids]:
    """The prompts without the copies of earlier ones, in their order."""
    return [prompts[number] for number, first in enumerate(first_alike(prompts)) if first == number]


def special_ends(model: LanguageModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that the tokenizer puts in front of a prompt, and those behind it.

    Raises:
        InvalidInput: no text was found that shows them.
    """
    if model.tokenizer is None:
        return (), ()
    found = special_ends_of(model.tokenizer)
    if found is None:
        raise InvalidInput(
            f"Expected a text around which the tokenizer of {model.name} shows its special tokens, but none was found; "
            "give token_ids, or leave special tokens away (--no-special-tokens)."
        )
    return found


def _ids(model: LanguageModel, prompt: Prompt, special_tokens: bool) -> list[int]:
    if not isinstance(prompt, str):
        return list(prompt)
    if model.tokenizer is None:
        reason = model.without_tokenizer or NO_TOKENIZER
        raise InvalidInput(f"Expected token ids, because {model.name} {reason}, but got text; give token_ids.")
    most = max(_LONG, _CHARACTERS * (model.limit or 0))
    if len(prompt) > most:
        raise InvalidInput(
            f"Expected prompts of at most {most} characters for {model.name}, but one has {len(prompt)}; shorten it."
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            "Expected text in UTF-8, but a prompt has bytes or half characters that are none; give token ids."
        ) from None
    return token_ids_of(model.tokenizer, prompt, special_tokens=special_tokens)


def _checked(model: LanguageModel, ids: list[Any], name: str, prompt: Prompt) -> list[int]:
    if not ids:
        raise InvalidInput(f"Expected at least one token, but {name} is empty; remove it or give it text.")
    if model.limit is not None and len(ids) > model.limit:
        raise InvalidInput(
            f"Expected at most {model.limit} tokens, the context of {model.name}, but {name} has {len(ids)}; "
            "shorten it."
        )
    for position, token in enumerate(ids):
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < model.vocabulary_size:
            if isinstance(prompt, str):
                raise InvalidInput(
                    f"Expected token ids from 0 to {model.vocabulary_size - 1}, the rows of {model.name}, but its "
                    f"tokenizer makes {token} ({model.decode([token])!r}) at position {position} of {name}; leave such "
                    "tokens away (--no-special-tokens), or give token_ids."
                )
            raise InvalidInput(
                f"Expected token ids from 0 to {model.vocabulary_size - 1}, but {name} has {token!r} at position "
                f"{position}; check which model it was tokenised for."
            )
    return ids


def text_in(path: Path, what: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 behind its mark; lines end with a line feed. `what` says what it is.

    Raises:
        InvalidInput: not readable, too large, or bytes that are no such text: none is replaced, which would be read as
            another text.
    """
    try:
        data = whole_file(path, most=LARGEST_FILE)
    except OSError as error:
        raise InvalidInput(f"Expected a readable {what}, but {path} is not: {error.strerror}; check it.") from None
    if data is None:
        raise InvalidInput(f"Expected a {what} of at most {LARGEST_FILE} bytes, but {path} is larger; split it.")
    # Some editors begin a file with a mark that says how it is encoded; it is no part of the text.
    encoding = "utf-16" if data[:2] in {BOM_UTF16_LE, BOM_UTF16_BE} else "utf-8-sig"
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"Expected a {what} in UTF-8, but {path} is not; convert it.") from None


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a file: one per line in `.txt`, an object with `text` or `token_ids` per line in `.jsonl`.

    Raises:
        InvalidInput: not readable, another ending, no prompt in it, or a line that is no prompt.
    """
    if path.suffix not in {".txt", ".jsonl"}:
        raise InvalidInput(f"Expected a prompt file .txt or .jsonl, but got {path}; rename or convert it.")
    lines = text_in(path, "prompt file").split("\n")
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line]
    if not any(line.strip() for _, line in numbered):
        raise InvalidInput(f"Expected at least one prompt, but {path} has none; write one per line.")
    blank = next((number for number, line in numbered if not line.strip()), None)
    if blank is not None:
        raise InvalidInput(
            f"Expected a prompt in every line, but line {blank} of {path} holds nothing but blanks; remove them, or "
            'write {"text": "…"} in a .jsonl file if they are the prompt.'
        )
    if path.suffix == ".txt":
        return [line for _, line in numbered]
    return [_json_prompt(path, number, line) for number, line in numbered]


def _json_prompt(path: Path, number: int, line: str) -> Prompt:
    """The prompt of a line, which says one and says it once."""
    entry, wrong = None, "is neither"
    try:
        entry = json.loads(line, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError | RecursionError):
            wrong = f"is neither ({error})"
    if isinstance(entry, dict):
        text, ids = entry.get("text"), entry.get("token_ids")
        if text is not None and ids is not None:
            wrong = "has both"
        elif isinstance(text, str):
            return text
        elif isinstance(ids, list):
            odd = [token for token in ids if type(token) is not int]
            if not odd:
                return ids
            wrong = f"has {shown(odd[0])} among its ids, which is no whole number"
    raise InvalidInput(
        f'Expected {{"text": …}} or {{"token_ids": […]}}, but line {number} of {path} {wrong}; correct that line.'
    )
