"""Fingerprints: a few random projections of every row, kept in the place of states.

A row is damped first (`sipit.noise.distances`), so that no massive coordinate is all that is projected. Whoever knows
the seed can make other rows of the same fingerprint: it tells accidents, and withstands no forger.
"""

from dataclasses import replace
from typing import Any

import torch

from proofs.arguments import seed_of, several, shown, whole_number
from proofs.errors import InvalidInput
from sipit.noise.distances import damping
from sipit.states.files import States

LEAST, MOST = 4, 64  # projections of a row


def check_size(size: int, width: int) -> None:
    """Raises InvalidInput where states of a width have no fingerprint of so many numbers a row."""
    if type(size) is not int or not LEAST <= size <= min(MOST, width):
        raise InvalidInput(
            f"Expected a fingerprint of {LEAST} to {min(MOST, width)} numbers a row, but got {shown(size)}; choose one."
        )


def size_and_seed(given: Any) -> tuple[int, int] | None:
    """How many numbers a row, and the seed; None where there are none. The size is checked beside a width.

    Raises:
        InvalidInput: no such pair.
    """
    if given is None:
        return None
    parts = several("the size of a fingerprint and its seed", given)
    if len(parts) != 2:
        raise InvalidInput(f"Expected the size of a fingerprint and its seed, but got {shown(given)}; give both.")
    return whole_number(parts[0]), seed_of(parts[1])


def fingerprint(states: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """The projections of states (…, d), shape (…, size), float64; they are the same for the same size and seed.

    Raises:
        InvalidInput: fewer projections than 4, more than 64, or more than the states have coordinates.
    """
    width = states.shape[-1]
    check_size(size, width)
    drawn = torch.randn(width, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = states.double().cpu()
    return (rows * damping(rows)) @ drawn / size**0.5


def fingerprinted(states: States, size: int, seed: int) -> States:
    """The fingerprints of states, with a manifest that says so, in float32.

    Raises:
        InvalidInput: a size that there is not.
    """
    assert states.manifest is not None  # of a capture
    arrays = tuple(fingerprint(rows, size, seed).float() for rows in states)
    return replace(states, arrays=arrays, manifest=replace(states.manifest, fingerprint=(size, seed)))
