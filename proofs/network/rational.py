"""Exact numbers as they stand in files: read without working out what a short text can make enormous."""

import re
from fractions import Fraction
from typing import Any

from proofs.errors import InvalidInput

LONGEST = 2000  # characters
_RATIONAL = re.compile(r"-?[0-9]+(/[0-9]+)?")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")


def rational(text: Any) -> Fraction:
    """The number written as p or p/q.

    Raises:
        InvalidInput: it is written otherwise, or q is 0.
    """
    return _read(text, _RATIONAL)


def decimal(text: Any) -> Fraction:
    """The number written with a point or with an exponent of at most three digits.

    Raises:
        InvalidInput: it is written otherwise.
    """
    return _read(text, _DECIMAL)


def _read(text: Any, form: re.Pattern[str]) -> Fraction:
    if isinstance(text, str) and len(text) < LONGEST and form.fullmatch(text):
        try:
            return Fraction(text)
        except ZeroDivisionError:
            pass
    raise InvalidInput(f"Expected an exact rational as text, but got {str(text)[:40]!r}; the file is damaged.")
