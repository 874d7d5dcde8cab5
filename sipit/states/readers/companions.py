"""What stands beside states in a file: token ids, and a mask that says which rows are padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from proofs.errors import InvalidInput
from sipit.states.readers.containers import Container, Stored
from sipit.states.readers.contents import TokenIds


@dataclass(frozen=True, slots=True)
class Companions:
    """Whole numbers of a file, read: one row of ids per prompt, and the mask if there is one."""

    ids: tuple[torch.Tensor, ...]
    mask: torch.Tensor | None

    @classmethod
    def of(cls, container: Container) -> "Companions":
        """The whole numbers beside the states.

        Raises:
            InvalidInput: some that are neither ids nor a mask, by name and shape.
        """
        ids: list[torch.Tensor] = []
        mask = None
        for tensor in container.tensors:
            if not tensor.whole:
                continue
            rows = _rows(container, tensor)
            if "mask" in tensor.name.lower():
                mask = rows
            else:
                ids += list(rows)
        return cls(tuple(ids), mask)

    def without_padding(self, stack: torch.Tensor, container: Container) -> tuple[torch.Tensor, ...]:
        """The rows of every prompt of a stack (N, T, …) that the mask does not call padding.

        Raises:
            InvalidInput: a mask of another shape.
        """
        if self.mask is None:
            return tuple(stack)
        if self.mask.shape != stack.shape[:2]:
            raise InvalidInput(
                f"Expected a mask of shape {tuple(stack.shape[:2])}, but {container.path} has one of "
                f"{tuple(self.mask.shape)}; save that of the same run."
            )
        return tuple(rows[kept.bool()] for rows, kept in zip(stack, self.mask, strict=True))

    def ids_of(self, arrays: Sequence[torch.Tensor], container: Container) -> TokenIds | None:
        """The token ids of prompts with such rows, None where there are none.

        Raises:
            InvalidInput: not one id for every row.
        """
        if not self.ids:
            return None
        kept = self.ids
        if self.mask is not None and len(self.mask) == len(kept) and self.mask.shape[1] == len(kept[0]):
            kept = tuple(ids[row.bool()] for ids, row in zip(kept, self.mask, strict=True))
        if [len(ids) for ids in kept] != [len(rows) for rows in arrays]:
            raise InvalidInput(
                f"Expected one token id for each row, {[len(rows) for rows in arrays]}, but {container.path} has "
                f"{[len(ids) for ids in kept]}; save ids and states of one run."
            )
        return tuple(tuple(map(int, ids.tolist())) for ids in kept)


def _rows(container: Container, tensor: Stored) -> torch.Tensor:
    name = tensor.name.lower()
    if (
        not 1 <= len(tensor.shape) <= 2
        or 0 in tensor.shape
        or not any(word in name for word in ("id", "token", "mask"))
    ):
        raise InvalidInput(
            f"Expected states, token ids or a mask, but {tensor} in {container.path} is none of them; keep only the "
            "states in the file."
        )
    read = tensor.read()
    return read if read.ndim == 2 else read[None]
