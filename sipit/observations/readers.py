"""Readers: how one tensor is taken out of a run, at a module, in a cache, or made of what another reader takes.

A reader puts hooks on for the length of a run and hands on one tensor (B, T, n), as soon as it is there.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from sipit.models import LanguageModel
from sipit.models.hooks import hooked

Keep = Callable[[torch.Tensor], None]


class Reader(Protocol):
    """Takes one tensor out of a run; it depends on the first `depth` blocks, the last of them perhaps in part."""

    @property
    def depth(self) -> int:
        """How many blocks."""
        ...

    def reading(self, keep: Keep, memory: Any = None) -> AbstractContextManager[None]:
        """Within, hands `keep` the tensor of every run; `memory` is what the run is given to remember with."""
        ...


@dataclass(frozen=True)
class AtModule:
    """What a module of block number `depth` returns, or with `entering` what it is called with.

    Some modules are handed the tokens of all prompts in one axis.
    """

    model: LanguageModel
    module: nn.Module
    depth: int
    entering: bool = False

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Reader.reading`."""

        batch: list[int] = []

        def enter(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            batch[:] = self.model.decoder.chain.stream.entered(arguments, named).shape[:2]

        def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep(first_tensor((*arguments, *named.values())).reshape(*batch, -1))

        def after(_module: Any, _arguments: Any, output: Any) -> None:
            keep(first_tensor(output).reshape(*batch, -1))

        block = self.model.decoder.blocks[self.depth - 1]

        def put_on() -> Iterator[Any]:
            yield block.register_forward_pre_hook(enter, with_kwargs=True)
            if self.entering:
                yield self.module.register_forward_pre_hook(before, with_kwargs=True)
            else:
                yield self.module.register_forward_hook(after)

        with hooked(put_on):
            yield


@dataclass(frozen=True)
class InCache:
    """The keys or values that a run adds to layer `index` of a cache, as they are cached, heads side by side."""

    index: int
    which: str

    @property
    def depth(self) -> int:
        """They come from the next block."""
        return self.index + 1

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Reader.reading`."""
        update = memory.update

        def watched(keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *arguments: Any, **named: Any) -> Any:
            joined = update(keys, values, layer_idx, *arguments, **named)
            if layer_idx == self.index:
                keep(beside(keys if self.which == "keys" else values))
            return joined

        memory.update = watched  # an attribute of the instance hides the method of the class
        try:
            yield
        finally:
            memory.update = update


@dataclass(frozen=True)
class AtHead:
    """The logits of a whole model, all `depth` blocks of which are run."""

    module: nn.Module
    depth: int

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Reader.reading`."""

        def after(_module: Any, _arguments: Any, output: Any) -> None:
            keep(output.logits)

        with hooked(lambda: [self.module.register_forward_hook(after)]):
            yield


@dataclass(frozen=True)
class MadeOf:
    """What a function makes of the tensor of another reader, token by token."""

    reader: Reader
    function: Callable[[torch.Tensor], torch.Tensor]

    @property
    def depth(self) -> int:
        """That of the other reader."""
        return self.reader.depth

    def reading(self, keep: Keep, memory: Any = None) -> AbstractContextManager[None]:
        """See `Reader.reading`."""
        return self.reader.reading(lambda states: keep(self.function(states)), memory)


def first_tensor(output: Any) -> torch.Tensor:
    """The tensor that a module takes or returns, or the first of several values.

    Raises:
        StopIteration: there is none.
    """
    parts = output if isinstance(output, tuple | list) else (output,)
    return next(part for part in parts if isinstance(part, torch.Tensor))


def beside(heads: torch.Tensor) -> torch.Tensor:
    """The heads (B, H, T, D) of every token side by side, (B, T, H D)."""
    return heads.transpose(1, 2).flatten(2)
