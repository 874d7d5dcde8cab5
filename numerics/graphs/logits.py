"""A language model up to its logits at the last token, captured for the theorems about training."""

from typing import Any

import torch

from numerics.graphs.capture import build, capture_graph
from proofs.network.graph import Graph


class _Logits(torch.nn.Module):
    """ids of shape (1, length) -> the logits at the last token, shape (1, 1, vocabulary)."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.model(input_ids=input_ids, use_cache=False).logits[:, -1:]


def capture_logits(config: Any, *, length: int) -> Graph:
    """The network of a config from ids and parameters to the logits at the last token.

    Args:
        config: a transformers config of a causal language model.
        length: number of tokens of the prompt.

    Raises:
        Unsupported: it cannot be built or traced.
    """
    return capture_graph(_Logits(build(config, device="cpu")), length=length)
