"""How much longer a tokenizer can make a text: priced before it is loaded, since its library works until memory ends.

Of the steps in a `tokenizer.json` three write what the file says: `Replace`, `Prepend` and `Precompiled`, a table of
characters. A chain of some dozen multiplies a few letters to more than any memory holds, already where tokens that were
added are read. What the others make of a text has limits of Unicode's.
"""

import base64
import json
from typing import Any

_STEPS = (b"Replace", b"Prepend", b"Precompiled")
MOST = 2**12  # times as long; published models have one table, of 33 bytes at most, and few steps beside it


def growth(content: bytes) -> float:
    """How many times as long the steps of a `tokenizer.json` may make a text, or what they write of tokens.

    Each is taken at its most: where a pattern matches everywhere, and all of them one after the other.

    Raises:
        ValueError: it is not JSON.
    """
    if not any(step in content for step in _STEPS):
        return 1.0
    data = json.loads(content)
    parts = [data.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")] if isinstance(data, dict) else []
    return max((_of(part) for part in parts), default=1.0)


def _of(step: Any) -> float:
    if isinstance(step, list):
        total = 1.0
        for one in step:
            total *= _of(one)
        return total
    if not isinstance(step, dict):
        return 1.0
    inner = _of([value for value in step.values() if isinstance(value, list | dict)])
    match step.get("type"):
        case "Replace":
            return inner * _replaced(step.get("pattern"), len(str(step.get("content", ""))))
        case "Prepend":
            return inner * (1.0 + len(str(step.get("prepend", ""))))
        case "Precompiled":
            return inner * _longest(step.get("precompiled_charsmap"))
        case _:
            return inner


def _replaced(pattern: Any, written: int) -> float:
    """Of a plain pattern, how much longer what is written is; one that matches nothing does so on either side."""
    plain = pattern.get("String") if isinstance(pattern, dict) else None
    return max(1.0, written / len(plain)) if isinstance(plain, str) and plain else 1.0 + 2 * written


def _longest(table: Any) -> float:
    """Bytes of the longest entry of a table: behind the size of an index and the index, each ends with a zero."""
    raw = base64.b64decode(table) if isinstance(table, str) else b""
    return max(1.0, *map(len, raw[4 + int.from_bytes(raw[:4], "little") :].split(b"\0")))
