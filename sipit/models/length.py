"""States that depend on how long the whole prompt is: tables of positions that are made anew for longer prompts.

Some rotary tables (longrope, dynamic NTK) look at the largest position of a run, and turn *every* position otherwise
where that lies beyond a length that the configuration names; some remember the longest run so far. The prefix of such a
prompt, run alone, is another network. So each table is asked what it makes of the first and last positions on both
sides of every length that the configuration names. Where the answers differ, it is asked from then on for the whole
prompt (`whole_length`), whatever part of it is run, and forgets other runs before.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from numerics.networks.stream import Stream
from proofs.threads import turn
from sipit.models.hooks import Reached, hooked

_SHOWN = 8  # positions at either end of a prompt whose rows of a table, or states, are compared
_LARGEST = 2**31  # no length of a prompt
_TOLD = "_sipit_told"  # an attribute of tables that have the hooks
_RUN = 1024  # tokens of the longest run that is made to see whether anything but a table looks at the length
_SAME = 1e-5  # relative; rows of a table at equal positions hardly differ otherwise
_LENGTHS = ("position", "length", "window", "context", "chunk", "seq", "max")  # in names of fields that may say one

_whole: ContextVar[int | None] = ContextVar("whole", default=None)


@contextmanager
def whole_length(length: int | None) -> Generator[None]:
    """While it lasts, runs are of parts of prompts of so many tokens (None: each of a whole one)."""
    token = _whole.set(length)
    try:
        yield
    finally:
        _whole.reset(token)


@dataclass(frozen=True, slots=True)
class LengthDependence:
    """Which lengths of a prompt change the states of all its positions.

    `lengths` are those of the configuration beyond which the states of all positions were seen to change,
    ascending; none for most models. `table` gives the rows of the tables for a length, at both ends of a prompt of
    another; None where what looks at the length is no table: then prompts beyond the first of `lengths` cannot be run
    in parts.
    """

    lengths: tuple[int, ...] = ()
    table: Callable[[int, int], torch.Tensor] | None = None

    def alike(self, first: int, second: int) -> bool:
        """Whether prompts of two lengths go through the same network."""
        shorter, longer = sorted((first, second))
        shorter = max(shorter, min(self.lengths, default=longer))  # up to there all lengths are alike
        if shorter >= longer:
            return True
        return self.table is not None and _same(self.table(shorter, shorter), self.table(longer, shorter))

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """The numbers of prompts of these lengths, those that go through one network together."""
        found: list[list[int]] = []
        for number, length in enumerate(lengths):
            for group in found:
                if self.alike(lengths[group[0]], length):
                    group.append(number)
                    break
            else:
                found.append([number])
        return found

    def runs_in_parts(self, length: int) -> bool:
        """Whether the network of a prompt of this length can run parts of it."""
        return self.table is not None or length <= min(self.lengths, default=length)

    @property
    def reason(self) -> str:
        """What is the matter, in words."""
        return f"beyond {self.lengths[0]} the states of every position depend on how long the whole prompt is"


@dataclass(frozen=True, slots=True)
class Table:
    """A module without parameters that makes rows of the positions it is called with, and one such call."""

    module: nn.Module
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def rows(self, length: int, end: int) -> torch.Tensor:
        """Its rows for a prompt of so many tokens, at the first positions and at the last ones before `end`, flat.

        Frequencies that hardly differ turn the first positions alike, and the last ones by other angles.
        """
        device = _positions(self.arguments, self.named).device
        shown = torch.arange(_SHOWN, device=device)
        shown = torch.cat([shown, shown + max(0, end - _SHOWN)])
        with turn, torch.inference_mode(), whole_length(length):  # a table may change as it is asked
            _forget(self.module, self.arguments, self.named)
            asked = _asked(self.arguments, self.named, lambda p: _anchored(_as(shown, p), length))
            output = self.module.forward(*asked[0], **asked[1])
        parts = [part[..., :-1, :] for part in _tensors(output)]
        return torch.cat([torch.view_as_real(p).flatten() if p.is_complex() else p.double().flatten() for p in parts])


def find_tables(body: nn.Module, ids: torch.Tensor, arguments: dict[str, Any]) -> list[Table]:
    """The tables of positions that a body asks while it runs ids (1, T)."""
    found: list[Table] = []
    places = torch.arange(ids.shape[1], device=ids.device)

    def look(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        positions = _positions_or_none(given, named)
        if positions is None or positions.shape[-1] != len(places) or not bool((positions == places).all()):
            return
        rows = _tensors(output)
        if rows and all(part.ndim >= 2 and part.shape[-2] == len(places) for part in rows):
            found.append(Table(module, given, named))

    modules = [part for part in body.modules() if not any(True for _ in part.parameters()) and _has_no_rows(part)]
    with (
        hooked(lambda: [part.register_forward_hook(look, with_kwargs=True) for part in modules]),
        torch.inference_mode(),
    ):
        body(input_ids=ids, **arguments)
    return found


def find_dependence(
    block: nn.Module, stream: Stream, tables: Sequence[Table], config: Any, run: Callable[[torch.Tensor], Any],
    rows: int, limit: int | None,
) -> LengthDependence:  # fmt: skip
    """Tries lengths on both sides of every one that a configuration names; tables that differ are told the length.

    Args:
        block: the first block of a body, whose states, in the form of `stream`, are compared where no table differs.
        tables: those that the body asks.
        config: names the lengths.
        run: runs ids (1, T).
        rows: ids lie below.
        limit: the longest prompt that it takes; None where there is none.
    """
    named = sorted({value for _, value in _numbers(config.to_dict())})
    turned = {n: [t for t in tables if not _same(t.rows(n, n), t.rows(n + 1, n))] for n in named if 2 <= n < _LARGEST}
    lengths = tuple(n for n, found in turned.items() if found)
    if lengths:
        dependent = list({id(t.module): t for found in turned.values() for t in found}.values())
        for module in {id(table.module): table.module for table in dependent}.values():
            if not hasattr(module, _TOLD):
                module.register_forward_pre_hook(_ask_for_all, with_kwargs=True)
                module.register_forward_hook(_give_what_was_asked)
                setattr(module, _TOLD, True)  # a copy of it has the hooks as well
        return LengthDependence(
            lengths, lambda length, end: torch.cat([table.rows(length, end) for table in dependent])
        )
    spoken = {n for name, n in _numbers(config.to_dict()) if any(part in name for part in _LENGTHS)}
    tried = sorted(n for n in spoken if _SHOWN <= n < min(_RUN, limit or _RUN))
    changed = tuple(n for n in tried if _changes(block, stream, run, rows, n))
    return LengthDependence(changed)


def _changes(block: nn.Module, stream: Stream, run: Callable[[torch.Tensor], Any], rows: int, length: int) -> bool:
    """Whether states at both ends of a prompt differ between runs of so many tokens and of one more."""
    device = next(block.parameters()).device
    ids = (torch.arange(length + 1, device=device) * 7 % rows)[None]
    states: list[torch.Tensor] = []

    def keep(_module: Any, _arguments: Any, output: Any) -> None:
        handed = stream.handed_on(output)[:, :length]
        states.append(torch.cat([handed[:, :_SHOWN], handed[:, -_SHOWN:]], dim=1).double())
        raise Reached

    with hooked(lambda: [block.register_forward_hook(keep)]), torch.inference_mode():
        for part in (ids[:, :length], ids):
            with suppress(Reached, IndexError):
                run(part)
    if len(states) < 2:
        return False  # a table has no more rows: there is no longer prompt
    half = next(block.parameters()).dtype in (torch.float16, torch.bfloat16)
    return not _same(*states, within=2e-2 if half else 1e-4)


def _ask_for_all(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Has a table forget earlier runs, and asks it for the last position of the whole prompt too."""
    _forget(module, given, named)
    length = _whole.get()
    return None if length is None else _asked(given, named, lambda positions: _anchored(positions, length))


def _give_what_was_asked(_module: nn.Module, _given: Any, output: Any) -> Any:
    """Takes the row of the last position away again."""
    if _whole.get() is None:
        return None
    if isinstance(output, torch.Tensor):
        return output[..., :-1, :]
    return tuple(part[..., :-1, :] if isinstance(part, torch.Tensor) else part for part in output)


def _forget(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """A table that remembers longer runs goes back to where it began when it is asked for the first position."""
    arguments = _asked(given, named, lambda positions: torch.zeros_like(positions[..., :1]))
    module.forward(*arguments[0], **arguments[1])


def _asked(
    given: tuple[Any, ...], named: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call of a table with other positions."""

    def changed(value: Any) -> Any:
        return change(value) if _is_positions(value) else value

    return tuple(map(changed, given)), {name: changed(value) for name, value in named.items()}


def _as(shown: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return shown.expand(*positions.shape[:-1], -1)


def _anchored(positions: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([positions, torch.full_like(positions[..., :1], length - 1)], dim=-1)


def _has_no_rows(module: nn.Module) -> bool:
    """Whether a module keeps no row for each position: it could not be asked for others."""
    return all(buffer.ndim < 2 for buffer in module.buffers())


def _positions(given: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    return next(value for value in (*given, *named.values()) if _is_positions(value))


def _positions_or_none(given: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor | None:
    return next((value for value in (*given, *named.values()) if _is_positions(value)), None)


def _is_positions(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.int64 and 1 <= value.ndim <= 3


def _tensors(output: Any) -> list[torch.Tensor]:
    parts = output if isinstance(output, tuple | list) else (output,)
    found = [part for part in parts if isinstance(part, torch.Tensor)]
    return found if len(found) == len(parts) and all(p.is_floating_point() or p.is_complex() for p in found) else []


def _numbers(fields: dict[str, Any], name: str = "") -> Iterator[tuple[str, int]]:
    """The whole numbers in a configuration, with the names of their fields."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _numbers(value, str(key))
        elif type(value) is int:
            yield f"{name}.{key}", value


def _same(first: torch.Tensor, second: torch.Tensor, within: float = _SAME) -> bool:
    return bool((first - second).norm() <= within * first.norm())
