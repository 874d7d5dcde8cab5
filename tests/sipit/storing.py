"""Rows as they are stored in few bits, widened again."""

import torch

GROUPS = ("tensor", "row", "head", "block", "channel")
CHANCE = torch.Generator().manual_seed(7)
ROUNDED = {
    "nearest": torch.round,
    "cut off": torch.trunc,
    "down": torch.floor,
    "up": torch.ceil,
    "by chance": lambda values: torch.floor(values + torch.rand(values.shape, generator=CHANCE)),
}


def integers(rows, *, bits, grouped, offset=False, width=16, rounded=torch.round):
    """Rows (T, n) rounded to 2^bits values of each group, and widened again."""
    length, n = rows.shape
    values = rows.T if grouped == "channel" else rows
    size = {"tensor": rows.numel(), "row": n, "head": width, "block": n // 2, "channel": length}[grouped]
    groups = values.reshape(-1, size)
    if offset:
        least = groups.amin(1, keepdim=True)
        step = (groups.amax(1, keepdim=True) - least) / (2**bits - 1)
        stored = rounded((groups - least) / step) * step + least
    else:
        step = groups.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        stored = rounded(groups / step) * step
    return stored.reshape(n, length).T.clone() if grouped == "channel" else stored.reshape(length, n)


def drawn(seed, length, width):
    generator = torch.Generator().manual_seed(seed)
    scales = (0.5 * torch.randn(width, generator=generator)).exp()
    return torch.randn(length, width, generator=generator) * scales


def by_row(rows, bits):
    """Rows stored in whole steps, each in so many bits."""
    return torch.cat([integers(row[None], bits=few, grouped="row") for row, few in zip(rows, bits, strict=True)])
