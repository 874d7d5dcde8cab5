"""The two words of `TwoBlocks.v`: equal multisets of (letter, share of ones so far), in exact rationals."""

import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

from proofs.formal import build

THEORY = Path(build.__file__).with_name("TwoBlocks.v").read_text()


def multiset(word: str) -> Counter[tuple[str, Fraction]]:
    return Counter((letter, Fraction(word[: k + 1].count("1"), k + 1)) for k, letter in enumerate(word))


def test_the_words_of_the_theory_have_equal_multisets():
    first, second = re.findall(r'"([01]{10,})"%string', THEORY)
    assert first != second
    assert len(first) == len(second) == 82
    assert multiset(first) == multiset(second)
    assert first[-1] == second[-1]
    assert first[:81][-1] != second[:81][-1]  # so that words of 81 letters are told apart by their last token
    assert multiset(first[:80]) != multiset(second[:80])
