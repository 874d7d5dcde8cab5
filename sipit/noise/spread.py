"""How much rounding is amplified in one prompt: Monte Carlo arithmetic.

The prompt is run with every block's input multiplied by 1 + u g, with g Gaussian and u one rounding unit; the spread of
its states is what rounding does there. Distances are relative L2, because the norms of states differ by orders of
magnitude between positions.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from numerics.networks.products import product_unit
from sipit.models.hooks import hooked
from sipit.models.network import Network
from sipit.noise.distances import relative_distance

SAMPLES = 16  # perturbed runs of one prompt
_SEED = 20251017


def spread_of_rounding(network: Network, token_ids: torch.Tensor, unit: float, *, damped: bool = False) -> torch.Tensor:
    """The largest relative deviation of 16 runs whose blocks are perturbed by `unit`, per position, shape (T,).

    The perturbations are drawn from a fixed seed, so that the answer is the same every time. Counted as one run.
    """
    return spread_of(perturbed_runs(network, token_ids, unit), damped=damped)


def perturbed_runs(
    network: Network, token_ids: torch.Tensor, unit: float, *, seed: int = _SEED, samples: int = SAMPLES
) -> torch.Tensor:
    """States (1 + samples, T, d) of a prompt, float64: the plain run, then those with perturbed blocks."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.full((samples + 1, 1, 1), unit)
    size[0] = 0  # the first row is the plain run
    with _perturbed_blocks(network, size, generator):
        return network.run(token_ids.expand(samples + 1, -1)).double()


def spread_of(states: torch.Tensor, *, damped: bool) -> torch.Tensor:
    """How far perturbed runs lie from the plain one at most, shape (T,)."""
    return relative_distance(states[1:], states[0].expand_as(states[1:]), damped=damped).amax(0)


def rounding_unit(*dtypes: torch.dtype, device: torch.device | None = None) -> float:
    """The rounding unit of the least exact of these types; as a device multiplies in them, where one is given."""
    units = [torch.finfo(dtype).eps for dtype in dtypes]
    return max(units + ([product_unit(device)] if device is not None and torch.float32 in dtypes else []))


@contextmanager
def _perturbed_blocks(network: Network, size: torch.Tensor, generator: torch.Generator) -> Generator[None]:
    """Multiplies what enters each block up to the layer by 1 + size * Gaussian."""
    stream = network.model.decoder.chain.stream

    def perturb(hidden: torch.Tensor) -> torch.Tensor:
        drawn = size * torch.randn(hidden.shape, generator=generator)
        return (hidden.double() * (1 + drawn.to(hidden.device).double())).to(hidden.dtype)

    def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        return stream.with_entered(arguments, named, perturb(stream.entered(arguments, named)))

    blocks = network.model.decoder.blocks
    last = max(1, network.depth)
    # Entered in front, so that at layer 0 the state is read after it has been perturbed.
    with hooked(lambda: [b.register_forward_pre_hook(before, with_kwargs=True, prepend=True) for b in blocks[:last]]):
        yield
