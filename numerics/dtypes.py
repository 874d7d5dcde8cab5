"""Number types of torch as records name them."""

from typing import Any


def name_of(dtype: Any) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
