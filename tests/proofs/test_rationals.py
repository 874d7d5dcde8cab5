"""Exact numbers as they stand in files: what is written otherwise, or at a length that nobody means, is refused."""

from fractions import Fraction
from typing import Any

import pytest

from proofs import InvalidInput
from proofs.network.rational import decimal, rational

LONGEST = 2000  # characters, from which on none is read


@pytest.mark.parametrize("text", ["0", "-3", "7/2", "-10/4", "9" * (LONGEST - 1)])
def test_rationals_are_read(text: str) -> None:
    assert rational(text) == Fraction(text)


@pytest.mark.parametrize("text", ["1.5", "-2", "3e-2", "1.25e+3", "1e999", "0." + "3" * (LONGEST - 3)])
def test_decimals_are_read(text: str) -> None:
    assert decimal(text) == Fraction(text)


@pytest.mark.parametrize("text", [
    5, 1.5, True, None, ["1"], b"1", "", "+1", "1/0", "1/-2", " 1", "1\n", "1_0", "\u0661", "nan", "1e1000", ".5",
    "9" * LONGEST, "0." + "3" * (LONGEST - 2),
])  # fmt: skip
def test_anything_else_is_refused(text: Any) -> None:
    for read in (rational, decimal):
        with pytest.raises(InvalidInput, match="an exact rational as text"):
            read(text)


def test_each_form_is_its_own() -> None:
    for read, text in ((rational, "1.5"), (rational, "1e2"), (decimal, "1/2")):
        with pytest.raises(InvalidInput, match="an exact rational as text"):
            read(text)
