"""The precision that products of float32 matrices really have on a device.

A device may round the factors first (tf32, bfloat16), as the user or another library has set it, in settings whose
names change. So it is tried: times the identity, a matrix comes back as its factors were rounded.
"""

import torch

_SIZE = 256  # small ones may be computed otherwise


def product_unit(device: torch.device | str = "cpu") -> float:
    """The rounding unit of products of float32 matrices there, now: 2^-23, or that of the factors (tf32: 2^-10)."""
    drawn = 1 + torch.rand(_SIZE, _SIZE, generator=torch.Generator().manual_seed(0))
    found = (torch.eye(_SIZE, device=device) @ drawn.to(device)).to("cpu", torch.float64)
    exact = drawn.double()
    return max(torch.finfo(torch.float32).eps, 2 * float(((found - exact) / exact).abs().max()))


def rounded_unit(device: torch.device | str = "cpu") -> float | None:
    """The same where factors are rounded; None where they are float32."""
    unit = product_unit(device)
    return unit if unit > 4 * torch.finfo(torch.float32).eps else None
