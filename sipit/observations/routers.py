"""Routers: which experts a block chooses for every token, and the scores that it compares them by.

A router is known by what it does. Inside the block `torch.topk` is called over one number for each expert, several
times where experts are chosen by groups, and the last call says which; the block hands on something else where others
are put in their place. The scores are those that the first call sees, before groups are left out.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.hooks import Reached, hooked
from sipit.models.refusals import Refusals
from sipit.observations.readers import Keep

_LENGTH = 4  # tokens of the prompt with which routers are found
_TOPK = (torch.topk, torch.Tensor.topk)


@dataclass(eq=False)
class Aim:
    """What is to be chosen: ids (T, n) as they were observed, for the run whose last token stands before `end`.

    `reach` says for every layer by how much of their norm scores may be moved towards it.
    """

    observed: torch.Tensor
    reach: dict[int, float]
    end: int = 0

    def wanted(self, tokens: int, columns: slice) -> torch.Tensor:
        """The ids for the tokens of a run, shape (tokens, k)."""
        return self.observed[self.end - tokens : self.end, columns].long()


@dataclass(eq=False)
class _Seen:
    """What one run of a block showed: its batch and tokens, the scores first seen, and the ids chosen last."""

    shape: tuple[int, ...] = ()
    scores: torch.Tensor | None = None
    ids: torch.Tensor | None = None


@dataclass(frozen=True)
class Router:
    """What chooses `chosen` of so many `experts` in block `index` + 1; a reader of the ids, ascending, or the scores.

    With an aim, scores are moved towards what is to be chosen, as far as it says, before they are compared. What comes
    of the choice, such as weights, is made of the scores as they were.
    """

    model: LanguageModel
    index: int
    experts: int
    chosen: int
    scores: bool = False
    aim: Aim | None = None
    start: int = 0  # of the aim's columns, the first of this layer

    @property
    def depth(self) -> int:
        """It belongs to the next block."""
        return self.index + 1

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Reader.reading`."""
        with watched_topk(self.model, self.index, self._answer, lambda seen: keep(self._taken(seen))):
            yield

    def _taken(self, seen: _Seen) -> torch.Tensor:
        assert seen.scores is not None and seen.ids is not None  # it was found, so it is called
        rows = seen.scores if self.scores else seen.ids.sort(dim=-1).values
        return rows.reshape(*seen.shape, -1).to(torch.promote_types(seen.scores.dtype, torch.float32))

    def _answer(self, seen: _Seen, call: "_Call") -> Any:
        given, rows = call.given, seen.shape[0] * seen.shape[1]
        if given.numel() != rows * self.experts:
            return call.on(given)
        if seen.scores is None:
            seen.scores = given.reshape(rows, self.experts)
        moved = given if self.aim is None else given + self._move(seen, self.aim).reshape(given.shape)
        found = call.on(moved)
        if given.shape[-1] != self.experts:
            return found
        seen.ids = found.indices.reshape(rows, -1)
        return found if self.aim is None else torch.return_types.topk((given.gather(-1, found.indices), found.indices))

    def _move(self, seen: _Seen, aim: Aim) -> torch.Tensor:
        """How scores (rows, E) are moved: those of experts that are to be chosen up, the others down."""
        assert seen.scores is not None
        wanted = aim.wanted(seen.shape[1], slice(self.start, self.start + self.chosen)).to(seen.scores.device)
        towards = seen.scores.new_full((len(wanted), self.experts), -1.0).scatter(1, wanted, 1.0)
        return towards.repeat(seen.shape[0], 1) * aim.reach[self.index] * seen.scores.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class _Call:
    """A call of `topk` on a tensor."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def given(self) -> torch.Tensor:
        """What it looks at."""
        return self.arguments[0] if self.arguments else self.named["input"]

    def on(self, given: torch.Tensor) -> Any:
        """The same call on another tensor."""
        named = {name: value for name, value in self.named.items() if name != "input"}
        return self.function(given, *self.arguments[1:], **named)


@contextmanager
def watched_topk(
    model: LanguageModel, index: int, answer: Callable[[_Seen, _Call], Any], leave: Callable[[_Seen], None]
) -> Generator[None]:
    """Within, `answer` answers every call of `topk` in block `index` + 1, and `leave` hears of each run of it."""
    block, stream = model.decoder.blocks[index], model.decoder.chain.stream
    inside: list[_Seen] = []

    class Watched(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            call = _Call(func, args, kwargs or {})
            return answer(inside[0], call) if inside and func in _TOPK else func(*args, **call.named)

    def enter(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        inside[:] = [_Seen(tuple(stream.entered(arguments, named).shape[:2]))]

    def end(*_: Any) -> None:
        leave(inside.pop())

    def put_on() -> list[Any]:
        return [block.register_forward_pre_hook(enter, with_kwargs=True), block.register_forward_hook(end)]

    with hooked(put_on), Watched():
        yield


def find_router(model: LanguageModel, layer: int) -> Router:
    """The router of block `layer` + 1.

    Raises:
        Unsupported: it has none that chooses as is described above.
    """
    calls: list[tuple[torch.Size, int]] = []

    def note(_seen: _Seen, call: _Call) -> Any:
        found = call.on(call.given)
        calls.append((call.given.shape, found.indices.shape[-1]))
        return found

    with Refusals():
        plain = _left(model, layer, note)
        (*_, experts), chosen = calls[-1]
        router = Router(model, layer, experts, chosen)
        other = _left(model, layer, lambda seen, call: _other_experts(router, seen, call))
        every = experts * _LENGTH
        if calls[0][0].numel() == calls[-1][0].numel() == every and not torch.equal(plain, other):
            return router
    raise Unsupported(
        f"Expected a router that chooses experts in block {layer + 1} of {model.name}, but none was found; observe "
        "another layer, or another site, such as residual."
    )


def find_scores(model: LanguageModel, layer: int) -> Router:
    """The same, reading scores."""
    return replace(find_router(model, layer), scores=True)


def _other_experts(router: Router, seen: _Seen, call: _Call) -> Any:
    """The answer to a call, with the next experts in the place of those chosen."""
    found = call.on(call.given)
    if call.given.shape[-1] != router.experts:
        return found
    return torch.return_types.topk((found.values, (found.indices + 1) % router.experts))


def _left(model: LanguageModel, layer: int, answer: Callable[[_Seen, _Call], Any]) -> torch.Tensor:
    """What the block hands on for a short prompt."""
    handed: list[torch.Tensor] = []

    def leave(_module: Any, _arguments: Any, output: Any) -> None:
        handed.append(model.decoder.chain.stream.handed_on(output).clone())
        raise Reached

    with (
        watched_topk(model, layer, answer, lambda _seen: None),
        hooked(lambda: [model.decoder.blocks[layer].register_forward_hook(leave)]),
        torch.inference_mode(),
        suppress(Reached),
    ):
        model.decoder.body(input_ids=model.ordinary_ids(_LENGTH), **model.abilities.arguments())
    return handed[0]
