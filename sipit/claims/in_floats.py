"""What floating point makes of prompts that collide over the reals: rounding separates some of them, and hides it.

Runs of one token, a^m and a^n, have the same last state for every parameter where the graph shows it
(`proofs.kernel.collisions`). A test in floats that sees a distance there sees rounding, and nothing else.
"""

from collections.abc import Sequence
from typing import Any

import torch

from numerics.networks.casting import cast
from sipit.models.copies import in_float64
from sipit.models.hooks import hooked

ARITHMETICS = (("float64", "sdpa"), ("float32", "sdpa"), ("bfloat16", "sdpa"), ("bfloat16", "eager"))
LENGTHS = ((1, 2), (1, 3), (2, 3), (1, 7), (1, 32))
TOKENS = 256


def rounded_pairs(family: str, pairs: Sequence[dict[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """The distance (absolute L2) that each arithmetic reports for pairs that collide exactly, one draw of parameters.

    Args:
        family: of the tiny model whose library class runs.
        pairs: with the fields `first` and `second`, token ids.
        seed: draws the parameters.
    """
    rows: list[dict[str, Any]] = []
    for dtype, attention in ARITHMETICS:
        module = _module(family, seed, dtype, attention)
        for pair in pairs:
            first, second = (_last_states(module, [pair[name]])[0] for name in ("first", "second"))
            rows.append({"first": pair["first"], "second": pair["second"], "exact": 0, "dtype": dtype,
                         "attention": attention, "distance": float((first - second).norm()),
                         "norm": float(first.norm())})  # fmt: skip
    return rows


def rounded_runs(family: str, *, seed: int) -> list[dict[str, Any]]:
    """Runs of every byte in two lengths: how many of them each arithmetic reports apart, and the largest distance.

    Empty where the graph does not show that runs collide.
    """
    from numerics.graphs.capture import capture_graph
    from proofs.structure.equal_prompts import in_room, repeated_tokens_collide
    from sipit.models.tiny import tiny_config

    lengths = {length for pair in LENGTHS for length in pair}
    if not in_room(repeated_tokens_collide, {n: capture_graph(tiny_config(family), length=n) for n in lengths}):
        return []
    rows: list[dict[str, Any]] = []
    for dtype, attention in ARITHMETICS:
        module = _module(family, seed, dtype, attention)
        for lengths in LENGTHS:
            first, second = (_last_states(module, [[token] * n for token in range(TOKENS)]) for n in lengths)
            apart = (first - second).norm(dim=1)
            token = int(apart.argmax())
            rows.append({"lengths": list(lengths), "exact": 0, "dtype": dtype, "attention": attention,
                         "tokens": TOKENS, "apart": int((apart > 0).sum()), "largest": float(apart[token]),
                         "at_token": token, "norm": float(first[token].norm())})  # fmt: skip
    return rows


def _module(family: str, seed: int, dtype: str, attention: str) -> Any:
    from sipit.models.tiny import tiny_module

    module = tiny_module(family, seed=seed)
    module = in_float64(module) if dtype == "float64" else cast(module, getattr(torch, dtype))
    if attention == "eager":
        module.set_attn_implementation(attention)
    return module


def _last_states(module: Any, prompts: list[list[int]]) -> torch.Tensor:
    """The last rows after all blocks, before the final norm, widened to float64 (exact); prompts of one length."""
    from numerics.graphs.capture import find_blocks
    from numerics.networks.stream import hidden_of

    reached: list[torch.Tensor] = []
    last = find_blocks(module)[-1]

    def keep(_module: Any, _arguments: Any, output: Any) -> None:
        reached.append(hidden_of(output))

    with hooked(lambda: [last.register_forward_hook(keep)]), torch.inference_mode():
        module(input_ids=torch.tensor(prompts), use_cache=False)
    return reached[0][:, -1].double()
