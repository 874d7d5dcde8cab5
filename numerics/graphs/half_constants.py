"""Constants that a class rounds: over the reals the network has the rounded ones, whatever type it runs in.

An ALiBi table in bfloat16 is no straight line, also not in float64. Where parameters or tokens enter, a cast stays the
identity, and the idealisations of the graph say so.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx.node import map_arg

from numerics.graphs.builder import LARGEST_CONSTANT
from numerics.graphs.exact_folding import undetermined
from numerics.networks.casting import HALVES


class HalfConstants:
    """What an exported program computes of constants alone and holds in a half type, as torch computes it."""

    def __init__(self, leaf: Callable[[Any], torch.Tensor | None]) -> None:
        """`leaf` gives the tensor of an input that is a known constant, else None."""
        self._leaf = leaf
        self._found: dict[Any, Any] = {}

    def value(self, fx: Any) -> torch.Tensor | None:
        """The entries of a result in a half type, in float64; None of other results, and where not all is constant."""
        held = fx.meta.get("val")
        if not isinstance(held, torch.Tensor) or held.dtype not in HALVES:
            return None
        computed = self._computed(fx)
        return computed.double() if isinstance(computed, torch.Tensor) else None

    def _computed(self, fx: Any) -> Any:
        if fx not in self._found:
            self._found[fx] = self._leaf(fx) if fx.op == "placeholder" else self._called(fx)
        return self._found[fx]

    def _called(self, fx: Any) -> Any:
        """What an operator gives in its own types; None where it reads, or draws, anything but constants."""
        held = fx.meta.get("val")
        large = isinstance(held, torch.Tensor) and held.numel() > LARGEST_CONSTANT
        if fx.op != "call_function" or large or undetermined(fx.target):
            return None
        inputs = {node: self._computed(node) for node in fx.all_input_nodes}
        if any(value is None for value in inputs.values()):
            return None
        arguments, keywords = map_arg((fx.args, dict(fx.kwargs)), inputs.__getitem__)
        if "device" in keywords:
            keywords = {**keywords, "device": "cpu"}
        with torch.no_grad():
            return fx.target(*arguments, **keywords)
