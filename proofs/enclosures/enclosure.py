"""Enclosures of states as they stand in a certificate: integers, a point position, and one radius per token."""

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_point import LARGEST, SMALLEST, WIDE, Fixed, integers
from proofs.arithmetic.limbs import Integers
from proofs.errors import InvalidInput, Unsupported

KEPT = 5  # bits of the smallest radius that are kept
SPREAD = 24  # bits by which the radius of a row may stay below the largest
LEAST = 64  # bits that are always kept after the point
ROOM = 2.0  # the factor by which radii are widened, so that another arithmetic can confirm the step
LARGEST_RADIUS = 2**900
LARGEST_ENTRY = 256  # bytes
LARGEST_DATA = 2**30  # bytes of one enclosure


@dataclass(frozen=True, slots=True, eq=False)
class Enclosure:
    """States of shape (tokens, width): each entry lies within `radius[token]` of `mantissa`, in units of 2^-bits."""

    bits: int
    mantissa: Integers
    radius: tuple[int, ...]

    @classmethod
    def of(cls, states: Fixed, bits: int) -> "Enclosure":
        """Computed states (1, tokens, width) of that many bits, widened, and cut to the digits that still count.

        Raises:
            Undecided: a radius is beyond all bounds.
            Unsupported: an entry is masked, which has no enclosure.
        """
        if states.masked is not None and states.masked.any():
            raise Unsupported("Expected finite states, but a masked entry (-inf) is among them; nothing is said.")
        rows = states.radius[0].max(axis=1) * ROOM + 1
        if not np.isfinite(rows).all() or rows.max() > LARGEST_RADIUS:
            raise Undecided(WIDE)
        # A row keeps a few digits below its radius; all share one point, so that rows far more accurate than the
        # others lose what makes no difference to them.
        drops = np.maximum(np.frexp(rows)[1] - KEPT, 0)
        drop = int(min(max(int(drops.min()), int(drops.max()) - SPREAD), max(bits - LEAST, 0)))
        cut = [max(int(each), drop) for each in drops]
        halves = integers([(1 << each) >> 1 for each in cut], (len(cut), 1))
        places = integers(cut, (len(cut), 1))
        mantissa = ((states.mantissa[0] + halves) >> places) << (places - drop)
        radius = tuple(
            ((math.ceil(r) >> each) + 2) << (each - drop) for r, each in zip(rows.tolist(), cut, strict=True)
        )
        return cls(bits - drop, mantissa, radius)

    def fixed(self) -> Fixed:
        """The same enclosure as a tensor (1, tokens, width) of fixed-point numbers."""
        radius = np.array([float(r) for r in self.radius])[:, None] * (1 + 2.0**-50)
        return Fixed(self.mantissa[None], np.broadcast_to(radius, self.mantissa.shape)[None])

    def holds(self, states: Fixed, bits: int) -> bool:
        """Whether computed states (1, tokens, width) of that many bits, or the last of them, lie within this one."""
        rows = len(self.radius)
        mantissa, radius = states.mantissa[0][-rows:], states.radius[0][-rows:]
        if states.masked is not None or not np.isfinite(radius).all() or mantissa.shape != self.mantissa.shape:
            return False
        finest = max(bits, self.bits)
        for row, most in enumerate(self.radius):
            near = (int(m) << (finest - bits) for m in mantissa[row])
            middle = (int(m) << (finest - self.bits) for m in self.mantissa[row])
            apart = (abs(a - b) for a, b in zip(near, middle, strict=True))
            own = (math.ceil(float(r)) << (finest - bits) for r in radius[row])
            if any(a + r > most << (finest - self.bits) for a, r in zip(apart, own, strict=True)):
                return False
        return True

    def last(self) -> "Enclosure":
        """The state of the last token alone."""
        return Enclosure(self.bits, self.mantissa[-1:], self.radius[-1:])

    def to_json(self) -> dict[str, Any]:
        """As JSON: the integers in two's complement of equal size, little-endian, deflated, in base 85."""
        flat = self.mantissa.ravel().tolist()
        size = max((value.bit_length() for value in flat), default=0) // 8 + 1
        packed = b"".join(value.to_bytes(size, "little", signed=True) for value in flat)
        data = base64.b85encode(zlib.compress(packed, 1)).decode()
        return {"bits": self.bits, "bytes": size, "radius": list(self.radius), "mantissa": data}

    @classmethod
    def from_json(cls, data: Any, tokens: int, width: int) -> "Enclosure":
        """The enclosure in a JSON object, of a given shape.

        Raises:
            InvalidInput: a field is missing, of the wrong type or of the wrong size.
        """
        if not isinstance(data, Mapping):
            raise InvalidInput("Expected an enclosure, but got something else; the file is damaged.")
        bits, size = (whole(data, name) for name in ("bits", "bytes"))
        radius, text = data.get("radius"), data.get("mantissa")
        sound = SMALLEST <= bits <= LARGEST and 1 <= size <= LARGEST_ENTRY and isinstance(text, str)
        if not sound or not isinstance(radius, list) or len(radius) != tokens or not all(map(_is_radius, radius)):
            raise InvalidInput(f"Expected an enclosure of {tokens} states, but it is malformed; the file is damaged.")
        expected = tokens * width * size
        if expected > LARGEST_DATA:
            raise InvalidInput(f"Expected an enclosure of at most {LARGEST_DATA} bytes, but got {expected}.")
        try:
            packed = zlib.decompressobj().decompress(base64.b85decode(str(text)), expected + 1)
        except (ValueError, zlib.error):
            packed = b""
        if len(packed) != expected:
            raise InvalidInput(f"Expected {expected} bytes of an enclosure, but got others; the file is damaged.")
        values = [int.from_bytes(packed[at : at + size], "little", signed=True) for at in range(0, expected, size)]
        return cls(bits, integers(values, (tokens, width)), tuple(radius))


def whole(data: Mapping[str, Any], name: str) -> int:
    """A field that must be an integer.

    Raises:
        InvalidInput: it is none.
    """
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"Expected {name!r} to be an integer, but got {str(value)[:40]!r}; the file is damaged.")
    return value


def _is_radius(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_RADIUS
