"""The buffers of a module: what its class computes is known, what a checkpoint fills is free like a parameter.

Whole numbers and truth values are no parameters: those that a checkpoint fills are not known.
"""

# pyright: reportPrivateUsage=false
# torch has no public way to replace a buffer, or to ask which of them a checkpoint holds.

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from numerics.networks.casting import HALVES
from numerics.networks.library import unlogged
from proofs.errors import SipitError

LARGEST_BUFFER = 2**27  # entries that are computed on the CPU; a larger buffer is not known


@dataclass(frozen=True, slots=True, eq=False)
class Buffers:
    """The buffers of a module by full name.

    Attributes:
        values: None where one is not known.
        free: those that are parameters of the graph, for a checkpoint sets them to anything.
        assumed: those that a checkpoint holds too, and that are taken to be as the class computes them.
    """

    values: dict[str, torch.Tensor | None]
    free: frozenset[str] = frozenset()
    assumed: frozenset[str] = frozenset()

    @classmethod
    def of_class(cls, model: torch.nn.Module, *, stored: bool) -> "Buffers":
        """Those of a class that many checkpoints fill; where one of them is meant, all reals that it holds are free."""
        values, held = buffer_values(model), frozenset(held_buffers(model))
        computed = frozenset(name for name in held if _is_computed(values.get(name)))
        reals = frozenset(name for name in held if model.get_buffer(name).is_floating_point())
        assumed = computed - reals if stored else computed
        values |= dict.fromkeys(held - reals - computed)
        return cls(values, reals - assumed, assumed)

    def others_in(self, module: torch.nn.Module) -> list[str]:
        """Those assumed that a checkpoint of the class holds other values for, but for a rounding to a half type."""
        found = dict(module.named_buffers())
        stored = {name: found[name].cpu() for name in sorted(self.assumed) if name in found}
        return [name for name, value in stored.items() if not _is_rounded(self.values[name], value)]


def _is_rounded(built: torch.Tensor | None, stored: torch.Tensor) -> bool:
    """Whether a buffer is as it was built, or that in a half type, as a checkpoint may keep it."""
    if built is None or built.shape != stored.shape:
        return False
    if not built.is_floating_point():
        return built.dtype == stored.dtype and torch.equal(built, stored)
    kept = (built.dtype, stored.dtype, *HALVES)
    return any(torch.equal(built.to(one).to(stored.dtype), stored) for one in kept)


def held_buffers(model: torch.nn.Module) -> Iterator[str]:
    """The buffers that a checkpoint holds, but for complex ones."""
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not buffer.is_complex() and name not in module._non_persistent_buffers_set:
                yield f"{path}.{name}" if path else name


def _is_computed(built: torch.Tensor | None) -> bool:
    """Whether a class computes a buffer from its configuration, as decays and their masks: its entries differ.

    What a checkpoint is to fill (statistics, biases that are learned without a gradient, tables of experts by token) is
    uniform as it is built.
    """
    return built is not None and bool((built != built.flatten()[:1]).any())


def buffer_values(model: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """The values of all buffers by full name; on the meta device they are set anew on the CPU by the model's own code.

    A buffer that the model's initialisation does not set is not known: None. It is found by filling it beforehand
    with two different values.
    """
    named = dict(model.named_buffers())
    real = {name: buffer for name, buffer in named.items() if not buffer.is_meta}
    if len(real) == len(named):
        return dict(real)
    first, second = (_initialised(model, filler) for filler in (0, 1))
    same = {name: torch.equal(first[name], second[name]) for name in first}
    return {**real, **{name: first[name] if same[name] else None for name in first}}


def _initialised(model: torch.nn.Module, filler: int) -> dict[str, torch.Tensor]:
    """The buffers on the meta device after an initialisation on the CPU that begins with them filled.

    All of them are there at once, for a module may set those of the modules in it.
    """
    initialise = getattr(model, "_init_weights", None)
    modules = dict(model.named_modules())
    before = {path: dict(module._buffers) for path, module in modules.items()}
    places: list[tuple[str, str]] = []
    try:
        for path, own in before.items():
            for name, buffer in own.items():
                if buffer is not None and buffer.is_meta and buffer.numel() <= LARGEST_BUFFER:
                    modules[path]._buffers[name] = torch.full_like(buffer, filler, device="cpu")
                    places.append((path, name))
        with torch.no_grad(), unlogged():
            if initialise is not None:
                around = {path[:end] for path, _ in places for end in _ends(path)}
                for path in reversed([path for path in modules if path in around]):  # children first
                    _tried(initialise, modules[path])
        return {f"{path}.{name}" if path else name: modules[path]._buffers[name] for path, name in places}  # type: ignore[misc]
    finally:
        for path, module in modules.items():
            module._buffers.update(before[path])


def _ends(path: str) -> list[int]:
    """Where the names of a module and of those around it end in its path."""
    return [0, *(place for place, letter in enumerate(path) if letter == "."), len(path)]


def _tried(initialise: Callable[[torch.nn.Module], None], module: torch.nn.Module) -> None:
    """Initialises a module; a class that cannot, for whatever reason, leaves its buffers as they are."""
    try:
        initialise(module)
    except (SipitError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - a class may stumble over a module of its own with any exception
        return
