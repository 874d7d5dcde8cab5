"""What a conversion into a number format did to a module: which matrices it reached, and by how much they changed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from numerics.formats.layers import effective_weight
from numerics.networks.casting import holds_packed, is_packed
from proofs.errors import Unsupported

RESCALED = 1e-4  # relative change of a row that is on a grid of blocks, whose scales are made and rounded anew

Quantize = Callable[[], set[int] | None]  # in place; the ids of parameters that were left
Convert = Callable[[nn.Module, Sequence[nn.Module]], "Conversion"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done to a module. Nothing is left out: what was not looked at would read as what was seen not to change.

    Attributes:
        matrices: how many matrices are now in the format.
        left: names of matrices in the blocks that were left as they are.
        change: relative Frobenius change of the matrices converted, taken together.
        stored: how they are stored now: the class or type that really holds them.
        table_change: the same of the embedding tables, which only some formats round.
        largest_change: the largest relative L2 change of one of their rows; 0 where no entry changed.
        rescaled: whether the format has scales, which it makes anew of what is stored.
    """

    matrices: int
    left: tuple[str, ...]
    change: float
    stored: str
    table_change: float
    largest_change: float
    rescaled: bool

    @classmethod
    def none(cls, stored: str) -> "Conversion":
        """Of a module whose weights are left as they are."""
        return cls(0, (), 0.0, stored, table_change=0.0, largest_change=0.0, rescaled=False)

    @property
    def reproduced(self) -> bool:
        """Whether every row of the matrices lay on the grid: it is as it was, but for the rounding of scales."""
        return self.largest_change <= (RESCALED if self.rescaled else 0)


def converted(
    module: nn.Module, blocks: Sequence[nn.Module], quantize: Quantize, stored: str = "", *, rescaled: bool
) -> Conversion:
    """Runs a conversion in place and compares the matrices of the blocks before and after.

    `quantize` may return the ids of parameters that it left; without `stored`, plain parameters are those left.
    `rescaled` says whether the format has scales.

    Raises:
        Unsupported: a library keeps weights packed already: what would be rounded is no weight.
    """
    if is_packed(module):
        raise Unsupported(
            "Expected weights that can be rounded, but a library keeps them packed already; dequantise the model, and "
            "save it again."
        )
    before = {name: value.clone() for name, _, value in _matrices(blocks)}
    count = len(before)
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    rows = [table.weight.detach().clone() for table in tables]
    skipped: set[int] = quantize() or set()
    left: list[str] = []
    kinds: set[str] = set()

    def changed() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # one matrix at a time: a value may be a copy
        for name, parameter, value in _matrices(blocks):
            kind, old = type(parameter).__name__, before.pop(name)
            if id(parameter) in skipped or (not stored and kind == "Parameter"):
                left.append(name)
                continue
            kinds.add(kind)
            yield old, value

    change, largest = _change(changed())
    return Conversion(
        matrices=count - len(left),
        left=tuple(left),
        change=change,
        stored=stored or ", ".join(sorted(kinds)),
        table_change=_change([(old, table.weight.detach()) for old, table in zip(rows, tables, strict=True)])[0],
        largest_change=largest,
        rescaled=rescaled,
    )


def _change(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    """The relative Frobenius distance of all second tensors from the first ones, and the largest of a row."""
    changed = squares = 0.0
    rows = [0.0]
    for old, new in pairs:
        apart = (new.to(old.device).float() - old.float()).double().norm(dim=-1)
        size = old.double().norm(dim=-1)
        rows.append(float(torch.where(apart == 0, 0, apart / size).max()))  # of a row of zeros too
        changed += float(apart.norm() ** 2)
        squares += float(size.norm() ** 2)
    largest = float(torch.tensor(rows, dtype=torch.float64).max())  # NaN where there is one
    return (changed / squares) ** 0.5 if squares else 0.0, largest


def _matrices(blocks: Sequence[nn.Module]) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """Name, parameter and value of all matrices in the blocks; the value is what is multiplied with."""
    for number, block in enumerate(blocks):
        for path, part in block.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                label = ".".join(piece for piece in (str(number), path, name) if piece)
                if name == "weight" and holds_packed(parameter):
                    yield label, parameter, effective_weight(part)
                elif parameter.ndim >= 2:
                    yield label, parameter, parameter.detach()
