"""The input norm of every block: what it makes of the residual stream before anything else looks at that.

It is known by what it does, not by its name: it takes the block's own input, returns as much, and does not mind a
factor in front of it.
"""

from collections.abc import Iterator
from typing import Any

import torch

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.hooks import hooked
from sipit.models.refusals import REFUSALS
from sipit.observations.readers import AtModule, first_tensor

_LENGTH = 4  # tokens of the prompt with which they are found
_FACTORS = (16.0, 64.0)  # of rows whose largest entry is 1: beside them no epsilon counts
_SAME = {torch.float64: 1e-5, torch.float32: 1e-3}  # relative
_SAME_HALF = 3e-2


def find_normed(model: LanguageModel, layer: int) -> AtModule:
    """The reader of residual `layer` behind the input norm of the next block.

    Raises:
        Unsupported: no norm was found at the beginning of that block.
    """
    norm = input_norms(model)[layer]
    if norm is None:
        raise Unsupported(
            f"Expected a norm at the beginning of block {layer + 1} of {model.name}, but none was found there; observe "
            "residual."
        )
    return AtModule(model, norm, layer + 1)


def input_norms(model: LanguageModel) -> list[Any]:
    """The input norm of every block, the first where it has several; None where none was found."""
    return [next(iter(norms), None) for norms in norms_of_input(model)]


def norms_of_input(model: LanguageModel) -> list[list[Any]]:
    """The norms of every block that look at what enters it, those that return the same counted once."""
    stream = model.decoder.chain.stream
    entered: dict[int, torch.Tensor] = {}
    found: list[list[tuple[Any, torch.Tensor]]] = [[] for _ in model.decoder.blocks]

    def enter(index: int) -> Any:
        def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            entered[index] = stream.entered(arguments, named).clone()

        return before

    def look(index: int) -> Any:
        def after(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            given = [part for part in (*arguments, *named.values()) if isinstance(part, torch.Tensor)]
            if given and isinstance(output, torch.Tensor) and output.shape == given[0].shape:
                own = given[0].shape == entered[index].shape and given[0].equal(entered[index])
                known = any(output.equal(rows) for _, rows in found[index])
                if own and not known and _minds_no_factor(module, given[0]):
                    found[index].append((module, output.clone()))

        return after

    def put_on() -> Iterator[Any]:
        for index, block in enumerate(model.decoder.blocks):
            yield block.register_forward_pre_hook(enter(index), with_kwargs=True)
            for part in block.modules():
                if part is not block:
                    yield part.register_forward_hook(look(index), with_kwargs=True)

    ids = model.ordinary_ids(_LENGTH)
    with hooked(put_on), torch.inference_mode():
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    return [[module for module, _ in norms] for norms in found]


def _minds_no_factor(module: Any, rows: torch.Tensor) -> bool:
    unit = rows / rows.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)  # beside epsilon, each
    try:
        small, large = (first_tensor(module.forward(unit * factor)).double() for factor in _FACTORS)
    except REFUSALS:
        return False  # it wants more than the rows
    return float(small.norm()) > 0 and bool(
        (small - large).norm() <= _SAME.get(rows.dtype, _SAME_HALF) * small.norm()
    )  # fmt: skip
