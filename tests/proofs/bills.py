"""What a certificate is to pay, part by part."""

from typing import Any

import pytest

from proofs.door import KINDS
from proofs.kernel.price import parts

Bill = dict[str, tuple[float, float]]


def bill(certificate: Any, kind: str = "regularity") -> Bill:
    """What each part costs in all, and the bytes that it holds."""
    found: Bill = {}
    for what, cost, size in parts(certificate, kind, KINDS[kind].price):
        before = found.get(what, (0.0, 0.0))
        found[what] = (before[0] + cost, before[1] + size)
    return found


def near(cost: float, size: float) -> Any:
    return pytest.approx((cost, size), rel=1e-9, abs=1e-9)
