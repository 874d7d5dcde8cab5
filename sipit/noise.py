"""How far captured states lie from recomputed ones: measured, and estimated for one prompt.

The same prompt gives slightly different states by the shape of the run (one forward, a cache, a padded batch) and by
the number format. For most positions that noise is alike; a few are ill-conditioned (a token that hesitates to become
an attention sink, say) and carry several hundred times as much. Those are found by Monte Carlo arithmetic: the
prompt is run with every block's input multiplied by 1 + u g, with g Gaussian and u one rounding unit, and the spread
of its states shows how much rounding is amplified there. All errors are relative L2, because the norms of states
differ by orders of magnitude between positions. Every figure is taken for the plain distance and for the evened one
of `sipit.distances`, which half types need.
"""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from numerics.arithmetic import cast
from numerics.stream import entered, with_entered
from sipit.capturing import capture
from sipit.corpus import random_tokens, section_prompts
from sipit.distances import relative_distance
from sipit.models import LanguageModel
from sipit.models.structure import find_decoder
from sipit.network import Layer, Network
from sipit.prefix_choice import prefix_opener

SAMPLES = 16  # perturbed runs of one prompt
_LENGTH = 48  # tokens of a calibration prompt
_SEED = 20251017
_USUAL = 0.95  # share of positions whose noise is called usual


@dataclass(frozen=True, slots=True)
class Noise:
    """What was measured on calibration prompts.

    `largest` is the largest relative noise over `positions`; `ratio` the largest quotient of the noise at a position
    and the spread of its Monte Carlo runs there. `evened_usual` is what 19 of 20 positions stay below in the evened
    distance, `evened_ratio` the quotient there.
    """

    largest: float
    positions: int
    ratio: float
    evened_usual: float
    evened_ratio: float


def measure_noise(model: LanguageModel, layer: Layer, *, computed: torch.dtype, stored: torch.dtype) -> Noise:
    """The noise between captures in one dtype and recomputation in the model's, over calibration prompts.

    The captures are one forward, token by token with a cache, and a batch padded on either side; each is compared
    with both ways in which candidates are computed. A measurement, not a bound.
    """
    prompts = calibration_prompts(model)
    capturing = in_dtype(model, computed)
    captures = [
        capture(capturing, prompts, layer=layer),
        capture(capturing, prompts, layer=layer, cached=True),
        capture(capturing, prompts, layer=layer, batch=len(prompts), padding="left"),
        capture(capturing, prompts, layer=layer, batch=len(prompts), padding="right"),
    ]
    network = Network(model, layer)
    prefix = prefix_opener(network)(network)
    unit = rounding_unit(computed, stored, model.dtype)
    noise: list[torch.Tensor] = []
    ratios: list[torch.Tensor] = []
    kinds = (False, True)
    for number, prompt in enumerate(prompts):
        ids = torch.tensor(prompt, device=model.device)
        drafted = prefix.extend(0, ids[None])[0].double()
        prefix.keep(0)
        tested = prefix.candidates(torch.arange(len(prompt), device=model.device), ids).double()
        pairs = [(c[number].to(stored).to(model.device).double(), r) for c in captures for r in (drafted, tested)]
        here = torch.stack(
            [torch.stack([relative_distance(r, c, evened=evened) for c, r in pairs]).amax(0) for evened in kinds]
        )
        runs = _perturbed_runs(network, ids, unit)
        spread = torch.stack([_spread(runs, evened=evened) for evened in kinds])
        noise.append(here)
        ratios.append(here / spread.clamp_min(unit))
    plain, even = torch.cat(noise, dim=1)
    ratio, even_ratio = torch.cat(ratios, dim=1).amax(1).tolist()
    return Noise(float(plain.max()), len(plain), ratio, float(even.quantile(_USUAL)), even_ratio)


def spread_of_rounding(network: Network, token_ids: torch.Tensor, unit: float, *, evened: bool = False) -> torch.Tensor:
    """The largest relative deviation of 16 runs whose blocks are perturbed by `unit`, per position, shape (T,).

    The perturbations are drawn from a fixed seed, so that the answer is the same every time. Counted as one run.
    """
    return _spread(_perturbed_runs(network, token_ids, unit), evened=evened)


def _perturbed_runs(network: Network, token_ids: torch.Tensor, unit: float) -> torch.Tensor:
    """States (1 + samples, T, d) of a prompt, float64: the plain run, then those with perturbed blocks."""
    generator = torch.Generator().manual_seed(_SEED)
    size = torch.full((SAMPLES + 1, 1, 1), unit)
    size[0] = 0  # the first row is the plain run
    with _perturbed_blocks(network, size, generator):
        return network.run(token_ids.expand(SAMPLES + 1, -1)).double()


def _spread(states: torch.Tensor, *, evened: bool) -> torch.Tensor:
    """How far perturbed runs lie from the plain one at most, shape (T,)."""
    return relative_distance(states[1:], states[0].expand_as(states[1:]), evened=evened).amax(0)


def rounding_unit(*dtypes: torch.dtype) -> float:
    """The rounding unit of the least exact of these types."""
    return max(torch.finfo(dtype).eps for dtype in dtypes)


@contextmanager
def _perturbed_blocks(network: Network, size: torch.Tensor, generator: torch.Generator) -> Generator[None]:
    """Multiplies what enters each block up to the layer by 1 + size * Gaussian."""

    def perturb(hidden: torch.Tensor) -> torch.Tensor:
        drawn = size * torch.randn(hidden.shape, generator=generator)
        return (hidden.double() * (1 + drawn.to(hidden.device).double())).to(hidden.dtype)

    def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        return with_entered(arguments, named, perturb(entered(arguments, named)))

    blocks = network.model.decoder.blocks
    last = len(blocks) if network.layer == "final" else max(1, network.layer)
    # Entered in front, so that at layer 0 the state is read after it has been perturbed.
    handles = [block.register_forward_pre_hook(before, with_kwargs=True, prepend=True) for block in blocks[:last]]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calibration_prompts(model: LanguageModel) -> list[list[int]]:
    """Natural text where there is a tokenizer, and random tokens, of unequal lengths so that batches are padded."""
    generator = torch.Generator().manual_seed(_SEED)
    length = min(_LENGTH, model.context or _LENGTH)
    natural = section_prompts(model, count=3, length=length)
    drawn = random_tokens(model, (3, length), generator=generator).tolist()
    return [ids[: max(1, length - 7 * number)] for number, ids in enumerate(natural + drawn)]


def in_dtype(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """The same model with weights and arithmetic of another type; itself where it has that type."""
    if dtype == model.dtype:
        return model
    module = cast(copy.deepcopy(model.module), dtype)
    return replace(model, module=module, decoder=find_decoder(module), dtype=dtype)
