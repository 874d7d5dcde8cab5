"""How a check refuses, and how two values of JSON are compared."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


class Rejected(Exception):
    """Something in a certificate that does not follow."""


def digest(graph: Any) -> str:
    """The sha256 of a value of JSON, such as a graph: it says which network a claim is about."""
    return hashlib.sha256(_text(graph).encode()).hexdigest()


def same(claimed: Any, found: Any) -> bool:
    """Whether two values are equal as JSON, where `true` is not 1 and 1 is not 1.0, as they are in Python."""
    return _text(claimed) == _text(found)


def expect_claim(claim: Mapping[str, Any], follows: Mapping[str, Any]) -> None:
    """Raises Rejected where a claim states, or leaves out, anything else than what follows."""
    for name in {*follows, *claim}:
        if name not in claim or name not in follows or not same(claim[name], follows[name]):
            raise Rejected(f"the claim says {name} = {claim.get(name)!r}, but {follows.get(name)!r} follows")


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
