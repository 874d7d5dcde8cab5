"""Whether the weights of a module are those it was loaded with: whatever is kept of a model goes by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

_ENTRIES = 4  # along every axis of a weight, that are compared


@dataclass(frozen=True, slots=True)
class Held:
    """What the parameters of a module held at one time.

    Attributes:
        written: by name, how often torch has written to it. Where it lies says nothing: it may be moved as it is.
        entries: by name, the bytes of some entries: writes through `.data` are not counted, and seen by these alone.
        training: whether the module was in training, where layers may drop what they compute.
    """

    written: dict[str, int]
    entries: dict[str, tuple[int, ...]]
    training: bool

    @classmethod
    def by(cls, module: Any) -> "Held":
        """What a module holds now."""
        tensors = dict(_held(module))
        return cls(
            {name: tensor._version for name, tensor in tensors.items()},  # pyright: ignore[reportPrivateUsage]
            {name: _some(tensor) for name, tensor in tensors.items()},
            bool(module.training),
        )

    def changed(self, module: Any) -> str | None:
        """The name of a parameter that a module holds otherwise than it did; None where there is none."""
        now = Held.by(module)
        for name in (*self.written, *now.written):
            if self.written.get(name) != now.written.get(name) or self.entries.get(name) != now.entries.get(name):
                return name
        return None


def _held(module: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters that are held as plain tensors, and not elsewhere, from where every run fetches them.

    Buffers are none of them: some are written to by every run.
    """
    for name, parameter in module.named_parameters():
        tensor = parameter.detach()
        if type(tensor) is torch.Tensor and not tensor.is_meta and not parameter.is_inference():
            yield name, tensor


def _some(tensor: torch.Tensor) -> tuple[int, ...]:
    part = tensor[tuple(slice(None, None, max(1, -(-size // _ENTRIES))) for size in tensor.shape)]
    return tuple(part.contiguous().flatten().view(torch.uint8).tolist())
