"""What the body of a model understands, as `sipit.models.trial` found out by running it.

This is the one place that knows how a body calls its arguments; everything else asks for a memory, a mask or
positions, and gets what was seen to work or an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from numerics.networks.products import product_unit, rounded_unit
from proofs.errors import Unsupported

Side = Literal["left", "right"]

_AGREE = {torch.float64: 1e-5, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.3}  # relative
UNITS = 32  # of rounding between two ways of computing a state that is not ill-conditioned; up to 20 were seen


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a body understands.

    `positions` and `mask` are the arguments that take position ids (the first is `first_position`) and a mask of ones
    and zeros, shape (batch, T). `memory` is the field in which the body returns what it remembers (a key-value cache, a
    recurrent state) and the argument that takes it back. Each is None where nothing was seen to work. `padding` says
    for each side on which padding leaves the states as they are what has to be passed for that: "mask", "positions".
    `packing` is whether the mask may have four dimensions, `flag` whether the body can be told not to remember, and
    `refused` says in words what did not work. `empty_memory` makes a memory with which runs may end at any block; None
    where every run has to go through all of them, as with recurrent states.
    """

    flag: bool = True
    positions: str | None = None
    first_position: int = 0
    mask: str | None = None
    memory: tuple[str, str] | None = None
    padding: dict[Side, tuple[str, ...]] = field(default_factory=dict[Side, tuple[str, ...]])
    packing: bool = False
    empty_memory: Callable[[], Any] | None = None
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def arguments(
        self,
        *,
        memory: Any = None,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        remember: bool = False,
    ) -> dict[str, Any]:
        """The arguments of the body for a memory, a mask and positions that count from 0, as far as they are given.

        Raises:
            Unsupported: one of them was not seen to work.
        """
        named: dict[str, Any] = {"use_cache": remember or memory is not None} if self.flag else {}
        if positions is not None:
            named[self._seen("positions", self.positions)] = positions + self.first_position
        if mask is not None:
            named[self._seen("mask", self.mask)] = mask
        if memory is not None:
            named[self._seen("memory", self.memory)[1]] = memory
        return named

    def memory_in(self, output: Any) -> Any:
        """What a body remembers, out of what it returned.

        Raises:
            Unsupported: the body was not seen to continue from anything that it returns.
        """
        return fields(output).get(self._seen("memory", self.memory)[0])

    def as_dict(self) -> dict[str, Any]:
        """The abilities as a record holds them."""
        memory = None if self.memory is None else dict(zip(("returned_as", "argument"), self.memory, strict=True))
        return {
            "memory": memory,
            "mask": self.mask,
            "positions": self.positions,
            "first_position": self.first_position,
            "padding": sorted(self.padding),
            "packing": self.packing,
            "refused": self.refused,
        }

    def _seen(self, ability: str, value: Any) -> Any:
        if value is None:
            reason = self.refused.get(ability, "that was not tried")
            raise Unsupported(f"Expected a model that understands {ability}, but {reason}; run prompts one at a time.")
        return value


def fields(output: Any) -> dict[str, Any]:
    """What a body returned, by name; by number where it is a tuple. The states are the first."""
    return dict(output.items() if hasattr(output, "items") else ((str(at), part) for at, part in enumerate(output)))


def agree(plain: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether states (…, d) that were computed in `dtype` in another way are the same up to rounding.

    Some models hand on wider states than they compute in.
    """
    if plain.shape != other.shape:
        return False
    apart, size = (plain - other).norm(dim=-1), plain.norm(dim=-1)

    def within(kind: torch.dtype) -> bool:
        return bool((apart <= _AGREE[kind] * size).all())  # false where there are NaNs

    # How products are rounded is tried last: mostly nobody has to know.
    return within(dtype) or (
        dtype == torch.float32 and within(torch.float16) and rounded_unit(plain.device) is not None
    )


def agree_closely(plain: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether they agree, and at least half of them as closely as rounding alone leaves what is not ill-conditioned.

    A few states carry the rounding of hundreds, which `agree` has to let pass. Taken for all, that hides what is done
    otherwise by little, and by far more than the tolerances that states are held to.
    """
    if not agree(plain, other, dtype):
        return False
    apart, size = (plain - other).norm(dim=-1), plain.norm(dim=-1)

    def within(unit: float) -> bool:
        return bool((apart <= UNITS * unit * size).double().mean() >= 0.5)

    return within(torch.finfo(dtype).eps) or (dtype == torch.float32 and within(product_unit(plain.device)))
