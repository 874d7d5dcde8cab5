"""The residual stream in what a block is called with, and in what it hands on."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Stream:
    """How the blocks of a model hold the state of a token: as d numbers, or as n streams of so many side by side.

    `streams` is None for blocks that hand on (B, T, d). Where there are n streams (hyper-connections), blocks hand on
    (B, T, n, d), or with `first` (AltUp) (n, B, T, d); the state of a token is then all n d numbers, shape (B, T, n d).
    """

    streams: int | None = None
    first: bool = False

    @classmethod
    def seen(cls, output: Any, length: int) -> "Stream | None":
        """The stream of a block that returned this for one prompt of so many tokens; None where it is no stream."""
        hidden = output[0] if isinstance(output, tuple | list) else output
        shape = tuple(hidden.shape) if isinstance(hidden, torch.Tensor) else ()
        if len(shape) == 3 and shape[:2] == (1, length):
            return cls()
        if len(shape) == 4 and shape[:2] == (1, length):
            return cls(shape[2])
        return cls(shape[0], first=True) if len(shape) == 4 and shape[1:3] == (1, length) else None

    def handed_on(self, output: Any) -> torch.Tensor:
        """The states (B, T, d) in what a block returns: the tensor itself, or the first of several values."""
        return self._state(output[0] if isinstance(output, tuple | list) else output)

    def entered(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
        """The states in what a block is called with: the first argument, or the first named tensor of their shape."""
        return self._state(arguments[0] if arguments else named[self._name(named)])

    def with_entered(
        self, arguments: tuple[Any, ...], named: dict[str, Any], states: torch.Tensor
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call of a block with other states."""
        hidden = self.hidden(states)
        return ((hidden, *arguments[1:]), named) if arguments else (arguments, named | {self._name(named): hidden})

    def hidden(self, states: torch.Tensor) -> torch.Tensor:
        """States (B, T, d) in the shape that blocks hand on."""
        if self.streams is None:
            return states
        parts = states.unflatten(2, (self.streams, -1))
        return parts.movedim(2, 0) if self.first else parts

    def _state(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.streams is None:
            return hidden
        return (hidden.movedim(0, 2) if self.first else hidden).flatten(2)

    def _name(self, named: dict[str, Any]) -> str:
        axes = 3 if self.streams is None else 4
        return next(name for name, value in named.items() if isinstance(value, torch.Tensor) and value.ndim == axes)


PLAIN = Stream()
hidden_of, entered, with_entered = PLAIN.handed_on, PLAIN.entered, PLAIN.with_entered
