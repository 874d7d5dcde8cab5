"""The residual stream in what a block is called with, and in what it hands on."""

from typing import Any

import torch


def hidden_of(output: Any) -> torch.Tensor:
    """The residual stream in what a block returns: the tensor itself, or the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def entered(arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    """The residual stream in what a block is called with: the first argument, or the first named tensor (B, T, d)."""
    return arguments[0] if arguments else named[_stream(named)]


def with_entered(
    arguments: tuple[Any, ...], named: dict[str, Any], hidden: torch.Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call of a block with another residual stream."""
    return ((hidden, *arguments[1:]), named) if arguments else (arguments, named | {_stream(named): hidden})


def _stream(named: dict[str, Any]) -> str:
    return next(name for name, value in named.items() if isinstance(value, torch.Tensor) and value.ndim == 3)
