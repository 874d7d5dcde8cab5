"""A small decoder as a plain torch module, for combinations that no library class has.

One block repeated: attention, then a two-layer step, each behind a norm (or before one); positions learned, rotary, as
ALiBi or T5 bias (one for every offset, not buckets), or none; norms and activations to choose; with or without residual
connections. The unembedding is not part of it: the state does not read it, so tying it to the embedding changes nothing
that is proved.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from numerics.graphs.capture import capture_graph
from proofs.errors import InvalidInput
from proofs.network.graph import Graph
from proofs.theorems.classification import T5_OFFSETS
from proofs.threads import turn

Positions = Literal["learned", "rope", "alibi", "t5", "none"]
Norm = Literal["layernorm", "rmsnorm", "none"]
Activation = Literal["gelu", "gelu-tanh", "silu", "tanh", "relu"]
EPSILON = 2.0**-17
SLOPE = 0.5  # of ALiBi, in every head; algebraic, as the classification asks


@dataclass(frozen=True, slots=True)
class Variant:
    """The architecture: two heads that share `width`, or one where it cannot be halved.

    With `post_norm` a norm stands behind each sum, as in the first transformers, instead of before each branch.
    """

    positions: Positions = "learned"
    norm: Norm = "layernorm"
    activation: Activation = "gelu-tanh"
    residual: bool = True
    depth: int = 1
    width: int = 4
    post_norm: bool = False

    @property
    def heads(self) -> int:
        """Number of heads."""
        return 1 if self.width % (4 if self.positions == "rope" else 2) else 2


class Norming(torch.nn.Module):
    """Layer norm, RMS norm, or the identity."""

    def __init__(self, kind: Norm, width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.weight = torch.nn.Parameter(torch.ones(width))
        if kind == "layernorm":
            self.bias = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The normalised rows, shape as given."""
        if self.kind == "none":
            return x
        if self.kind == "layernorm":
            return functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, EPSILON)
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON)


class Block(torch.nn.Module):
    """Attention and a two-layer step, each behind a norm."""

    def __init__(self, variant: Variant, length: int) -> None:
        super().__init__()
        self.variant = variant
        d = variant.width
        head = d // variant.heads
        self.attention_norm, self.step_norm = (Norming(variant.norm, d) for _ in range(2))
        self.query, self.key, self.value, self.out = (torch.nn.Linear(d, d, bias=False) for _ in range(4))
        self.up, self.down = torch.nn.Linear(d, d), torch.nn.Linear(d, d)
        if variant.positions == "t5":
            self.bias = torch.nn.Parameter(torch.zeros(T5_OFFSETS))
        offsets = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        mask = torch.zeros(length, length, dtype=torch.float64)
        self.register_buffer("mask", mask.masked_fill(offsets < 0, -math.inf), persistent=False)
        self.register_buffer("offsets", offsets.clamp(min=0), persistent=False)
        self.register_buffer("alibi", SLOPE * torch.arange(length, dtype=torch.float64)[None, :], persistent=False)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0 ** (
            -torch.arange(0, head, 2, dtype=torch.float64)[None, :] / head
        )
        self.register_buffer("cosine", torch.cos(angles).repeat(1, 2), persistent=False)
        self.register_buffer("sine", torch.sin(angles).repeat(1, 2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows after the block, shape (1, length, width)."""
        x = self._branch(x, self.attention_norm, self._attend)
        return self._branch(x, self.step_norm, self._step)

    def _branch(self, x: torch.Tensor, norm: Norming, branch: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        result = branch(x if self.variant.post_norm else norm(x))
        result = x + result if self.variant.residual else result
        return norm(result) if self.variant.post_norm else result

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(_ACTIVATIONS[self.variant.activation](self.up(x)))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        if self.variant.positions == "rope":
            query, key = self._rotate(query), self._rotate(key)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.variant.positions == "alibi":
            scores = scores + self.get_buffer("alibi")
        if self.variant.positions == "t5":
            scores = scores + self.bias[self.get_buffer("offsets")]
        mixed = torch.softmax(scores + self.get_buffer("mask"), dim=-1) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (1, heads, length, width of a head)."""
        return x.unflatten(-1, (self.variant.heads, -1)).transpose(1, 2)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return x * self.get_buffer("cosine") + turned * self.get_buffer("sine")


class Decoder(torch.nn.Module):
    """ids of shape (1, length) -> states after all blocks, before any final norm."""

    def __init__(self, variant: Variant, length: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, variant.width)
        self.places = torch.nn.Embedding(16, variant.width) if variant.positions == "learned" else None
        self.register_buffer("order", torch.arange(length)[None, :], persistent=False)
        self.blocks = torch.nn.ModuleList(Block(variant, length) for _ in range(variant.depth))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The states, shape (1, length, width)."""
        x = self.embedding(input_ids)
        if self.places is not None:
            x = x + self.places(self.get_buffer("order"))
        for block in self.blocks:
            x = block(x)
        return x


def capture_variant(variant: Variant, *, length: int, vocabulary: int) -> Graph:
    """The graph of a variant for one prompt length, all numbers in float64 and so without casts.

    Raises:
        InvalidInput: a width that does not fit, or no blocks.
    """
    even = variant.positions == "rope" and variant.width % 2
    if variant.depth < 1 or not 3 <= variant.width <= 64 or even:
        raise InvalidInput(
            "Expected at least one block and a width from 3 to 64 (an even one for rope), but got "
            f"depth={variant.depth}, width={variant.width}; choose such sizes."
        )
    with turn, torch.random.fork_rng(devices=[]):
        module = Decoder(variant, length, vocabulary).double().eval().requires_grad_(False)
    return capture_graph(module, layer=variant.depth, length=length)


_ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu-tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "relu": functional.relu,
}
