"""The buffers of a module: what its class computes is known, what a checkpoint fills is free like a parameter."""

# pyright: reportPrivateUsage=false
# torch has no public way to replace a buffer, or to ask which of them a checkpoint holds.

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from numerics.networks.library import unlogged
from proofs.errors import SipitError

LARGEST_BUFFER = 2**27  # entries that are computed on the CPU; a larger buffer is not known


@dataclass(frozen=True, slots=True)
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
        """Those of a class that many checkpoints fill; all that these hold are free where one of them is meant."""
        values = buffer_values(model)
        held = frozenset(_held(model))
        assumed = frozenset[str]() if stored else frozenset(name for name in held if _is_computed(values.get(name)))
        return cls(values, held - assumed, assumed)


def _held(model: torch.nn.Module) -> Iterator[str]:
    """The buffers of floats that a checkpoint holds."""
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in module._non_persistent_buffers_set:
                yield f"{path}.{name}" if path else name


def _is_computed(built: torch.Tensor | None) -> bool:
    """Whether a class computes a buffer from its configuration, as decays and their masks: its entries differ.

    What a checkpoint is to fill, statistics and biases that are learned without a gradient, is uniform as it is built.
    """
    return built is not None and bool((built != built.flatten()[:1]).any())


def buffer_values(model: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """The values of all buffers by full name; on the meta device they are set anew on the CPU by the model's own code.

    A buffer that the model's initialisation does not set is not known: None. It is found by filling it beforehand
    with two different values.
    """
    real = {name: b for name, b in model.named_buffers() if not b.is_meta}
    if all(not b.is_meta for b in model.buffers()):
        return dict(real)
    initialise = getattr(model, "_init_weights", None)
    runs: list[dict[str, torch.Tensor]] = []
    for filler in (0, 1):
        found: dict[str, torch.Tensor] = {}
        for path, module in model.named_modules():
            buffers = module.named_buffers(recurse=False)
            own = {name: b for name, b in buffers if b.is_meta and b.numel() <= LARGEST_BUFFER}
            if not own or initialise is None:
                continue
            for name, b in own.items():
                module._buffers[name] = torch.full_like(b, filler, device="cpu")
            try:
                with torch.no_grad(), unlogged():
                    _tried(initialise, module)
                found |= {f"{path}.{name}" if path else name: module._buffers[name] for name in own}  # type: ignore[misc]
            finally:
                module._buffers.update(own)
        runs.append(found)
    first, second = runs
    same = {name: torch.equal(first[name], second[name]) for name in first}
    return {**real, **{name: first[name] if same[name] else None for name in first}}


def _tried(initialise: Callable[[torch.nn.Module], None], module: torch.nn.Module) -> None:
    """Initialises a module; a class that cannot, for whatever reason, leaves its buffers as they are."""
    try:
        initialise(module)
    except (SipitError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - a class may stumble over a module of its own with any exception
        return
