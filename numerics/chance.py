"""Chance that can be repeated: one generator for whatever names a draw, such as a seed, a prompt and a number."""

import hashlib
from typing import Any

import torch


def chance_of(*parts: Any) -> torch.Generator:
    """A generator of its own for these parts, by what they print; the same for the same ones, on the CPU.

    Parts are hashed, not added: of two seeds that follow each other no draw is shared.
    """
    return torch.Generator().manual_seed(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:15], 16))
