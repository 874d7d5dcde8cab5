"""Whatever numpy, torch or a list can mean by prompts, as a list of texts and lists of ids."""

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch

from proofs.errors import InvalidInput

Prompt = str | Sequence[int]


def given_prompts(prompts: Any) -> list[Prompt]:
    """The prompts that are meant: ids alone are one prompt, the rows of a table several; a text alone may be a slip.

    What a tokenizer returns is taken as well, without the positions that its mask says are padding.

    Raises:
        InvalidInput: none, or what is neither text nor ids.
    """
    if isinstance(prompts, Mapping) and "input_ids" in prompts:
        return _tokenized(prompts)
    if isinstance(prompts, str):
        raise InvalidInput("Expected a list of one prompt or more, but got a text alone; put it into a list.")
    if isinstance(prompts, torch.Tensor | np.ndarray):
        prompts = prompts.tolist()
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | bytearray | Mapping | Set):
        raise InvalidInput(f"Expected texts or lists of token ids, but got a {type(prompts).__name__}; give a list.")
    everything: Iterable[Any] = prompts
    listed: list[Any] = [_plain(prompt) for prompt in everything]
    if not listed:
        raise InvalidInput("Expected a list of one prompt or more, but got none; give --text or --prompts.")
    if all(type(prompt) is int for prompt in listed):
        return [listed]  # the ids of one prompt
    for number, prompt in enumerate(listed):
        if not isinstance(prompt, str | list):
            raise InvalidInput(
                f"Expected text or a list of token ids, but prompt {number} is a {type(prompt).__name__}; give one of "
                "them."
            )
    return listed


def _plain(value: Any) -> Any:
    """Text as it is, ids as a list, one id as an int; whatever else, as it came."""
    if isinstance(value, torch.Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        entries: Any = value
        if len(entries) == 1 and isinstance(entries[0], list | tuple):
            entries = entries[0]  # a batch of one
        return [_id(entry) for entry in entries]
    return _id(value)


def _id(value: Any) -> Any:
    """A whole number of any library as an int; whatever else, as it came, to be refused with its place."""
    if isinstance(value, str | bool | np.bool_):
        return value
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return value


def _tokenized(encoding: Mapping[str, Any]) -> list[Prompt]:
    rows: list[Any] = given_prompts(encoding["input_ids"])
    mask = encoding.get("attention_mask")
    if mask is None:
        return rows
    seen: list[Any] = given_prompts(mask)
    if [len(row) for row in rows] != [len(row) for row in seen]:
        raise InvalidInput("Expected an attention_mask of the shape of input_ids, but got another; leave it away.")
    return [[token for token, one in zip(row, kept, strict=True) if one] for row, kept in zip(rows, seen, strict=True)]
