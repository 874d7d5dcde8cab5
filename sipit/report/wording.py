"""Numbers and text in the form that a page shows."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

NONE = "–"  # stands where a record has no value
LONGEST = 4000  # characters of one value that a page shows
_DEEPEST = 4  # nested lists and objects are abridged below
_LISTED = 64  # entries of a nested list that a page shows


def number(value: Any) -> str:
    """A number to three significant digits, to the unit from 1000 to 10,000; integers whole."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else plain(value)
    if isinstance(value, int):
        return integer(value)
    if not value or not math.isfinite(value):
        return f"{value:g}"
    if 0.01 <= abs(value) < 10_000:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def integer(value: int) -> str:
    """An integer in full; one too long to be written is described."""
    # Python refuses to write integers of more than 4300 digits, and no reader wants them.
    return str(value) if value.bit_length() <= 10_000 else f"an integer of {value.bit_length()} bits"


def plain(value: Any, depth: int = 0) -> str:
    """Any JSON value on one line: floats in full, nested values abridged."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}… ({len(value) - LONGEST} characters more)"
    if isinstance(value, list | tuple | dict):
        if depth == _DEEPEST:
            return f"({count(len(value), 'entry', 'entries')})"
        pairs = list(value.items()) if isinstance(value, dict) else [(None, entry) for entry in value]
        shown = [plain(entry, depth + 1) if key is None else f"{key}: {plain(entry, depth + 1)}"
                 for key, entry in pairs[:_LISTED]]  # fmt: skip
        more = [f"… ({len(pairs) - _LISTED} more)"] if len(pairs) > _LISTED else []
        text = ", ".join(shown + more)
        return f"({text})" if depth else text or NONE
    return repr(value)


def count(number_of: int, one: str, many: str | None = None) -> str:
    """`1 prompt`, `2 prompts`, `4,498,500 pairs`."""
    written = f"{number_of:,}" if 9999 < number_of < 10**18 else integer(number_of)
    return f"{written} {one if number_of == 1 else many or one + 's'}"


def do(number_of: int, verb: str, of_one: str | None = None) -> str:
    """`collides` of one, `collide` of several."""
    return (of_one or f"{verb}s") if number_of == 1 else verb


def spread(values: Sequence[float]) -> str:
    """`from 1e-7 to 2e-7`, or the one value that there is."""
    low, high = number(min(values)), number(max(values))
    return f"all {low}" if low == high else f"from {low} to {high}"


_BLANK = (  # marks and letters that are drawn as nothing: joiners, fillers, variation selectors, and the empty pattern
    (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF),
)  # fmt: skip


def is_hidden(character: str) -> bool:
    """Whether a character cannot be seen, looks like a space, or changes how its neighbours are seen."""
    # Cc controls, Cf format and bidi, Cs surrogates, Co private, Cn unassigned, Zl, Zp and Zs separators
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    if character != " " and unicodedata.category(character) in hidden:
        return True
    return any(first <= ord(character) <= last for first, last in _BLANK)


def sign_of(character: str) -> str:
    """The visible sign of a hidden character: its code point, or the usual sign for line ends and tabs."""
    return {"\n": "⏎", "\r": "␍", "\t": "⇥"}.get(character) or f"U+{ord(character):04X}"


def visible(text: str, *, keep: str = "") -> str:
    """Text with every hidden character replaced by its sign in brackets, except those in `keep`."""
    return "".join(
        f"⟨{sign_of(character)}⟩" if is_hidden(character) and character not in keep else character for character in text
    )
