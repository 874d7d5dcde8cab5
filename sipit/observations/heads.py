"""Keys and values that are given head by head, in the orders of axes that programs have."""

from collections.abc import Iterator, Sequence

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.observations.sites import heads_of


def with_heads_beside(
    model: LanguageModel, observation: Observation, arrays: Sequence[torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Tensors of T x n, or T x H x D or H x T x D with a 1 in front or not, as T x n; one alone may be several T x n.

    Raises:
        InvalidInput: a shape that has no reading beside the H and D of the model, or several.
    """
    chosen = observation.within(model.layers, model.name)
    heads, size = heads_of(model, chosen.sites[0], int(chosen.layers[0])) if len(chosen.layers) == 1 else (0, 0)
    width = observed_network(model, chosen).width
    for number, array in enumerate(arrays):
        found = dict(_readings(array, heads, size, width, alone=len(arrays) == 1))
        answers = list(found.values())
        if not found:
            raise InvalidInput(
                f"Expected {observation.words} of {heads} heads of {size} numbers, as T x {width}, or T x {heads} x "
                f"{size} or {heads} x T x {size} with a 1 in front or not, but tensor {number} has shape "
                f"{tuple(array.shape)}; check the model, the layer and how they were saved."
            )
        if any(not _same(answer, answers[0]) for answer in answers):
            raise InvalidInput(
                f"Expected one reading of tensor {number} of shape {tuple(array.shape)}, but it may be "
                f"{' or '.join(found)}; save it as T x {width}."
            )
        yield from answers[0]


def _readings(
    array: torch.Tensor, heads: int, size: int, width: int, *, alone: bool
) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """What the axes may be, and the tensors (T, n) then."""
    shape = tuple(array.shape)
    if len(shape) == 2 and shape[1] == width:
        yield "T x n", [array]
    if len(shape) == 3 and alone and shape[2] == width:
        yield "prompts x T x n", list(array)
    one = "1 x " * (len(shape) == 4 and shape[0] == 1)  # programs have either order behind an axis of prompts, too
    axes, table = (shape[1:], array[0]) if one else (shape, array)
    if len(axes) == 3 and axes[1:] == (heads, size):
        yield f"{one}T x heads x n", [table.flatten(1)]
    if len(axes) == 3 and (axes[0], axes[2]) == (heads, size):
        yield f"{one}heads x T x n", [table.transpose(0, 1).flatten(1)]


def _same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(a.shape == b.shape for a, b in zip(first, second, strict=True)) and all(
        torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )  # fmt: skip
