"""How much longer a tokenizer can make a text: priced before it is loaded, since its library works until memory ends.

Of the steps in a `tokenizer.json` four write what the file says: `Replace`, `Prepend`, `Precompiled`, a table of
characters, and `TemplateProcessing`, tokens around a text. A chain of some dozen multiplies a few letters to more than
any memory holds, already where tokens that were added are read. What the others make of a text has limits of Unicode's.
"""

import base64
import json
import math
from typing import Any

MOST = 2**12  # times as long; published models have one table, of 33 bytes at most, and few steps beside it


def growth(content: bytes | str) -> float:
    """How many times as long the steps of a `tokenizer.json` may make a text, or what they write of tokens.

    Each is taken at its most: where a pattern matches everywhere, of a text of one letter, and all of them one after
    the other. Infinity where an object names one thing twice: readers differ in which they take.

    Raises:
        ValueError: it is not JSON.
    """
    twice = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice |= len(found) < len(pairs)
        return found

    data = json.loads(content, object_pairs_hook=once)
    if twice:
        return math.inf
    if not isinstance(data, dict):
        return 1.0
    read = _of([data.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor")])
    return max(read, _of(data.get("decoder")))


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
        case "TemplateProcessing":
            return max(1.0, *(_template(step.get(name), step.get("special_tokens")) for name in ("single", "pair")))
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


def _template(pieces: Any, special: Any) -> float:
    """Tokens that a template makes of a text of one: its own, and the text as often as it stands there."""
    total = 0.0
    for piece in pieces if isinstance(pieces, list) else ():
        token = piece.get("SpecialToken") if isinstance(piece, dict) else None
        about = special.get(token.get("id")) if isinstance(token, dict) and isinstance(special, dict) else None
        ids = about.get("ids") if isinstance(about, dict) else None
        total += len(ids) if isinstance(ids, list) else 1
    return total
