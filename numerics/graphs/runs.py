"""What is traced of a model: its run up to a layer, or all of it, as a module from ids to states."""

from collections.abc import Callable
from typing import Any

import torch

from numerics.networks.stand_ins import standing_in
from numerics.networks.stream import entered, hidden_of
from proofs.errors import Unsupported


class UpTo(torch.nn.Module):
    """input_ids -> the residual stream after `layer` blocks, before any final norm; those behind them are passed by."""

    def __init__(self, model: torch.nn.Module, blocks: list[torch.nn.Module], layer: int) -> None:
        super().__init__()
        self.model = model
        self._blocks = [blocks]  # a list in a list: the blocks are not registered twice
        self._layer = layer

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The states, shape (1, length, width)."""
        blocks = self._blocks[0]
        reached: list[Any] = []
        outputs: list[Any] = []  # of the block that is read; the blocks behind it hand it on

        def before(module: torch.nn.Module, arguments: Any, keywords: dict[str, Any]) -> None:
            reached.append(entered(arguments, keywords))

        def after(module: torch.nn.Module, arguments: Any, output: Any) -> None:
            reached.append(hidden_of(output))
            outputs.append(output)

        def passing(forward: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *arguments, **keywords: outputs[0] if outputs else forward(*arguments, **keywords)

        if self._layer == 0:
            handle = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = blocks[self._layer - 1].register_forward_hook(after)
        behind = blocks[self._layer :] if self._layer else []
        try:
            with standing_in(behind, [passing(block.forward) for block in behind]):
                self.model(input_ids=input_ids, use_cache=False)
        finally:
            handle.remove()
        if not reached:
            raise Unsupported(
                "Expected the model to run its blocks in order, but the layer was never reached; name another layer, "
                "or give a module without a transformers config, which is captured whole."
            )
        if len(reached) > 1:
            raise Unsupported(
                f"Expected the model to run each block once, but it runs block {max(self._layer, 1)} "
                f"{len(reached)} times; name a layer outside the loop, or give a module without a transformers config, "
                "which is captured whole."
            )
        return reached[0]


class Whole(torch.nn.Module):
    """A plain module from ids to states, or to a tuple that begins with them."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """What the module gives."""
        result = self.model(input_ids)
        states = result[0] if isinstance(result, tuple) else result
        if not isinstance(states, torch.Tensor):
            raise Unsupported(
                f"Expected a module that maps ids to states, but {type(self.model).__name__} gives a "
                f"{type(states).__name__}; give one that returns a tensor, or a tuple that begins with one."
            )
        return states
