"""What SGLang answers with `return_hidden_states`, saved as JSON.

One object or a list of them, one per prompt; `meta_info.hidden_states` is a list whose first entry holds the rows of
the prompt (T, d), and every later one the row of a generated token. All are states after the final norm. The last
generated token was never run, and has no row. Rows of a prefix that was in the radix cache are not computed again, and
are missing in front.
"""

import json
from pathlib import Path
from typing import Any

import torch

from proofs.arguments import token_ids
from proofs.errors import InvalidInput
from proofs.files import whole_file
from sipit.states.readers.contents import Contents, Place, TokenIds

_LARGEST = 4 * 2**30  # bytes of an answer


def read_sglang(path: Path) -> Contents:
    """The states after the final norm of every answer in the file.

    Raises:
        InvalidInput: not JSON, no such answers, rows of several widths, or fewer of a prompt than it has tokens.
    """
    try:
        content = whole_file(path, most=_LARGEST)
        data: Any = json.loads((content or b"").decode())
    except (OSError, ValueError, RecursionError):
        raise InvalidInput(
            f"Expected the JSON of an SGLang answer, but {path} cannot be read as JSON; save it again."
        ) from None
    answers: list[Any] = data if isinstance(data, list) else [data]
    try:
        arrays = tuple(_rows(answer["meta_info"]["hidden_states"]) for answer in answers)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError):
        arrays = ()
    if not arrays or any(array.ndim != 2 or 0 in array.shape for array in arrays):
        raise InvalidInput(
            f"Expected SGLang answers with meta_info.hidden_states, a list of rows of one width, but {path} has "
            "others; save the answer of return_hidden_states as it came."
        )
    for answer in answers:
        _check_whole(path, answer["meta_info"])
    known = tuple(_ids(answer, len(array)) for answer, array in zip(answers, arrays, strict=True))
    stored: TokenIds | None = tuple(ids for ids in known if ids is not None)
    if len(stored) != len(arrays):
        stored = None
    return Contents("answers of SGLang, states after the final norm", {Place("residual", "final"): arrays}, stored)


def _rows(parts: Any) -> torch.Tensor:
    """All rows (T, d) of one answer, those of the prompt first."""
    tensors = [torch.tensor(part, dtype=torch.float32) for part in parts]
    return torch.cat([part[None] if part.ndim == 1 else part for part in tensors])


def _prompt_rows(meta: Any) -> int:
    """How many rows the first entry has, which is that of the prompt."""
    first: Any = meta["hidden_states"][0]
    return len(first) if isinstance(first[0], list) else 1


def _check_whole(path: Path, meta: Any) -> None:
    """Raises InvalidInput where rows of a prompt are missing: those that are there stand at later positions."""
    told, logged, rows = meta.get("prompt_tokens"), meta.get("input_token_logprobs"), _prompt_rows(meta)
    count = max(told if type(told) is int else 0, len(logged) if isinstance(logged, list) else 0)
    if rows < count:
        raise InvalidInput(
            f"Expected a row for each of the {count} tokens of a prompt, but an answer in {path} has {rows}; turn the "
            "radix cache off (--disable-radix-cache), or save the rows and name the tokens in front with --prefix."
        )


def _ids(answer: Any, rows: int) -> tuple[int, ...] | None:
    """The ids of the rows, where the answer has those of its whole prompt (with log-probabilities of the input)."""
    try:
        meta = answer["meta_info"]
        prompt = [entry[1] for entry in meta["input_token_logprobs"]]
        if len(prompt) != _prompt_rows(meta):
            return None
        ids = token_ids("an answer", [*prompt, *answer["output_ids"]])[:rows]
    except (KeyError, TypeError, InvalidInput, IndexError):
        return None
    return ids if len(ids) == rows else None
