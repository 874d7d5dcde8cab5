"""What stands beside states in a file: token ids, and a mask that says which rows are padding.

What these are is told by their names, not by their types: programs keep masks, and ids, in floats as well. Whole
numbers of other names are refused: position ids, types of segments, the next tokens or a mask of special tokens are
neither, and what is compared with the answer, or leaves rows out of it, must be what it is taken for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from proofs.errors import InvalidInput
from sipit.states.readers.containers import Container, Stored
from sipit.states.readers.contents import TokenIds

_IDS = {"ids", "tokens", "input_ids", "token_ids", "prompt_ids", "prompt_token_ids", "input_tokens", "prompt_tokens"}
_MASKS = {"mask", "attention_mask", "attn_mask"}


@dataclass(frozen=True, slots=True, eq=False)
class Companions:
    """What stands beside the states of a file, read: one row of ids per prompt, and the mask if there is one."""

    ids: tuple[torch.Tensor, ...]
    mask: torch.Tensor | None

    @classmethod
    def of(cls, container: Container) -> "Companions":
        """The ids and the mask beside the states.

        Raises:
            InvalidInput: whole numbers that are neither, by name and shape, a mask of something else than 0 and 1, or
                ids in a floating-point type that has not all of them.
        """
        ids: list[torch.Tensor] = []
        mask = None
        for tensor in container.tensors:
            if not stands_beside(tensor):
                continue
            rows = _rows(container, tensor)
            if _word(tensor) in _IDS:
                ids += list(rows)
                continue
            if mask is not None or not bool(((rows == 0) | (rows == 1)).all()):
                raise InvalidInput(
                    f"Expected one mask, of 1 at tokens and 0 at padding, but {tensor} in {container.path} is another; "
                    "save the rows of tokens alone."
                )
            mask = rows
        return cls(tuple(ids), mask)

    def without_padding(
        self, prompts: torch.Tensor | Sequence[torch.Tensor], container: Container
    ) -> tuple[torch.Tensor, ...]:
        """The rows of every prompt (T, …) that the mask does not call padding.

        Raises:
            InvalidInput: a mask of another shape, or one that leaves no row of a prompt.
        """
        if self.mask is None:
            return tuple(prompts)
        if [len(rows) for rows in prompts] != [self.mask.shape[1]] * len(self.mask):
            raise InvalidInput(
                f"Expected a mask for prompts of {[len(rows) for rows in prompts][:8]} rows, but {container.path} has "
                f"one of shape {tuple(self.mask.shape)}; save that of the same run."
            )
        empty = [number for number, kept in enumerate(self.mask) if not bool(kept.any())]
        if empty:
            raise InvalidInput(
                f"Expected a mask that is 1 at tokens and 0 at padding, but that of {container.path} leaves no row of "
                f"prompt {empty[0]}; turn it around if it is 1 at padding, or leave that prompt out of the file."
            )
        return tuple(rows[kept.bool()] for rows, kept in zip(prompts, self.mask, strict=True))

    def ids_of(self, arrays: Sequence[torch.Tensor], container: Container) -> TokenIds | None:
        """The token ids of prompts with such rows, None where there are none.

        Raises:
            InvalidInput: not one id for every row.
        """
        if not self.ids:
            return None
        kept = self.ids
        if self.mask is not None and len(self.mask) == len(kept):
            padded = self.mask.shape[1]  # others have their padding taken away, prompt by prompt
            kept = tuple(
                ids[row.bool()] if len(ids) == padded else ids for ids, row in zip(kept, self.mask, strict=True)
            )
        if [len(ids) for ids in kept] != [len(rows) for rows in arrays]:
            raise InvalidInput(
                f"Expected one token id for each row, {[len(rows) for rows in arrays]}, but {container.path} has "
                f"{[len(ids) for ids in kept]}; save ids and states of one run."
            )
        return tuple(tuple(map(int, ids.tolist())) for ids in kept)


def stands_beside(tensor: Stored) -> bool:
    """Whether a tensor stands beside states: whole numbers, a mask by its name, ids by theirs and by what they are."""
    if tensor.whole or not tensor.floating:
        return tensor.whole
    word = _word(tensor)
    return word in _MASKS or (word in _IDS and _whole(tensor.read()))


def _whole(table: torch.Tensor) -> bool:
    return bool(table.isfinite().all()) and torch.equal(table, table.round())


def _word(tensor: Stored) -> str:
    """The last word of a name, without the numbers of prompts: `input_ids` of `prompt0.input_ids` and `input_ids_3`."""
    words = (word.strip("_") for word in reversed(re.split(r"[^a-z_]+", tensor.name.lower())))
    return next(filter(None, words), "")


def _rows(container: Container, tensor: Stored) -> torch.Tensor:
    if not 1 <= len(tensor.shape) <= 2 or 0 in tensor.shape or _word(tensor) not in _IDS | _MASKS:
        raise InvalidInput(
            f"Expected states, token ids (input_ids) or a mask (attention_mask), but {tensor} in {container.path} is "
            "none of them; keep only the states in the file."
        )
    read = tensor.read()
    if read.is_floating_point() and _whole(read):
        if float(read.abs().max()) > 2 / torch.finfo(read.dtype).eps:
            raise InvalidInput(
                f"Expected ids in whole numbers, but {tensor} in {container.path} may have rounded them; save them as "
                "int64."
            )
        read = read.long()
    return read if read.ndim == 2 else read[None]
