"""What attention and the MLP of a block add to the residual stream, and the stream between them.

They are known by what they do: where x enters a block and y leaves it, a module returns a and another m with

    mid = x + a and y = mid + m        one half behind the other
    y = x + a + m                      halves side by side: there is no mid

to the last bit, and a, unlike m, looks at other tokens. So of a block that normalises its halves before they are added
(Gemma, OLMo 2) it is the normalised ones that are observed.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.hooks import Reached, hooked
from sipit.observations.readers import AtModule, first_tensor

_LENGTH = 4  # tokens of the prompt with which they are found

Half = Literal["mid", "attention-out", "mlp-out"]
HALVES: tuple[Half, ...] = ("mid", "attention-out", "mlp-out")


@dataclass(frozen=True, eq=False)
class _Seen:
    """A tensor (T, d) that a module of the block took or returned."""

    module: nn.Module
    entering: bool
    rows: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Run:
    """What was seen of a block while it ran: what entered it, what it handed on, and what its modules did between."""

    entered: torch.Tensor
    left: torch.Tensor
    seen: list[_Seen]


def find_half(model: LanguageModel, layer: int, half: Half) -> AtModule:
    """The reader of a half of block `layer`.

    Raises:
        Unsupported: no module of the block hands it on.
    """
    found = halves_of(model, layer)
    if half not in found:
        reason = "its halves stand side by side" if len(found) == 2 else "no two modules add up to what it hands on"
        raise Unsupported(f"Expected {half} in block {layer} of {model.name}, but {reason}; observe residual.")
    return found[half]


def returned_by_matrix(model: LanguageModel, layer: int, half: Half) -> bool:
    """Whether a half of block `layer` is added as a matrix, or a mixture of several, returns it: no norm is between.

    Raises:
        Unsupported: no module of the block hands it on.
    """
    return any(weight.ndim > 1 for weight in find_half(model, layer, half).module.parameters())


def halves_of(model: LanguageModel, layer: int) -> dict[Half, AtModule]:
    """The readers of all that block `layer` has of the three, found by running a short prompt twice."""
    return {half: AtModule(model, one.module, layer, one.entering) for half, one in _halves(model, layer).items()}


def _halves(model: LanguageModel, layer: int) -> dict[Half, _Seen]:
    if model.decoder.chain.stream.streams is not None:
        return {}
    run = _watched(model, layer)
    moved = _watched(model, layer, move_first=True)
    returned = [one for one in run.seen if not one.entering]
    for mid in run.seen:
        first = [one for one in returned if torch.equal(run.entered + one.rows, mid.rows)]
        second = [one for one in returned if torch.equal(mid.rows + one.rows, run.left)]
        if first and second and _mixes(first[0], run, moved):
            return {"attention-out": first[0], "mid": mid, "mlp-out": second[0]}
    for one, other in _pairs(returned):
        sums = (one.rows + other.rows + run.entered, run.entered + one.rows + other.rows,
                run.entered + other.rows + one.rows)  # fmt: skip
        if any(torch.equal(each, run.left) for each in sums):
            mixing = [half for half in (one, other) if _mixes(half, run, moved)]
            if len(mixing) == 1:
                return {"attention-out": mixing[0], "mlp-out": other if mixing[0] is one else one}
    return {}


def _pairs(returned: list[_Seen]) -> Iterator[tuple[_Seen, _Seen]]:
    for number, one in enumerate(returned):
        for other in returned[number + 1 :]:
            yield one, other


def _mixes(half: _Seen, run: _Run, moved: _Run) -> bool:
    """Whether it changes at the last token where the first one's state was changed."""
    number = next(number for number, one in enumerate(run.seen) if one is half)
    return not torch.equal(half.rows[-1], moved.seen[number].rows[-1])


def _watched(model: LanguageModel, layer: int, *, move_first: bool = False) -> _Run:
    """A run of a short prompt up to a block; with `move_first` the state of the first token that enters it is moved."""
    block, stream = model.decoder.blocks[layer - 1], model.decoder.chain.stream
    ids = model.ordinary_ids(_LENGTH)
    width, entered, left = model.width, list[torch.Tensor](), list[torch.Tensor]()
    calls: list[tuple[nn.Module, bool, torch.Tensor]] = []

    def enter(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        states = stream.entered(arguments, named).clone()
        if move_first:
            states[:, 0] = states[:, 0].flip(-1)
        entered.append(states[0])
        return stream.with_entered(arguments, named, states)

    def leave(_module: Any, _arguments: Any, output: Any) -> None:
        left.append(stream.handed_on(output)[0])
        raise Reached

    def note(module: nn.Module, entering: bool, given: Any) -> None:
        try:
            rows = first_tensor(given)
        except StopIteration:
            return  # no tensor at all
        if rows.shape[-1] == width and rows.numel() == width * _LENGTH:
            calls.append((module, entering, rows.detach().reshape(_LENGTH, width).clone()))

    inner = [part for part in block.modules() if part is not block]

    def put_on() -> Iterator[Any]:
        yield block.register_forward_pre_hook(enter, with_kwargs=True)
        for part in inner:
            yield part.register_forward_pre_hook(lambda m, a, n: note(m, True, (*a, *n.values())), with_kwargs=True)
            yield part.register_forward_hook(lambda m, _a, output: note(m, False, output))
        yield block.register_forward_hook(leave)

    with hooked(put_on), torch.inference_mode(), suppress(Reached):
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    seen = [_Seen(module, entering, rows) for module, entering, rows in calls]
    once = [one for one in seen if sum(one.module is o.module and one.entering == o.entering for o in seen) == 1]
    return _Run(entered[0], left[0], once)
