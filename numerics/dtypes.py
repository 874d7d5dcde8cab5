"""Number types of torch as records name them, and the shorter names that people give."""

from typing import Any

SPELLINGS = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def name_of(dtype: Any) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def spelled_out(name: str) -> str:
    """`bfloat16-states` for `bf16-states`: a type, or a format whose name begins with one, as torch spells it."""
    kind, *rest = name.split("-")
    return "-".join((SPELLINGS.get(kind, kind), *rest))
