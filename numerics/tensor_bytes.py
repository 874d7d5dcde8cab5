"""Tensors as the bytes of a safetensors file, whatever memory they share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensor_bytes(tensors: "Mapping[str, torch.Tensor]", metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of tensors. Those that share memory are written each for itself: the format has no views."""
    from safetensors.torch import save

    apart: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if memory in held else plain
        held.add(memory)
    return save(apart, metadata)
