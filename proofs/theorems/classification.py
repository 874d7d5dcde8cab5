"""Which pairs collide for every parameter, by the position scheme alone: the complete classification, to compare with.

Setting: residual pre-norm blocks with full attention, epsilon > 0, and free token rows; proofs in
docs/generic-position.md. The enumeration of `proofs.theorems.generic_position` does not use this table; the two are
compared.
"""

from collections import Counter
from fractions import Fraction
from typing import Any, Literal

from proofs.kernel.collisions import powers_of_one_word, proportional, repeated
from proofs.kernel.patterns import Prompt

Scheme = Literal["learned", "rope", "alibi", "t5", "none"]


def collides(scheme: Scheme, depth: int, first: Prompt, second: Prompt) -> bool:
    """Whether the classification says that two different prompts collide for every parameter.

    A reserved BOS is part of both prompts: it occurs once in each, so that constant words and proper powers are
    impossible and proportional counts are equal counts.
    """
    if scheme == "learned":
        return False
    if scheme == "alibi" and depth == 1:
        return powers_of_one_word(first, second)
    if scheme == "none" and depth == 1:
        return proportional(first, second)
    if scheme == "none" and depth == 2:
        return _classes(first) == _classes(second)
    return repeated(first, second)


def _classes(prompt: Prompt) -> tuple[Any, Any]:
    """Without positions, two blocks see the last token and how often each (token, frequencies so far) occurs."""
    first = [(token, _frequencies(list(prompt[: k + 1]))) for k, token in enumerate(prompt)]
    return first[-1], _frequencies(first)


def _frequencies(items: list[Any]) -> frozenset[tuple[Any, Fraction]]:
    return frozenset((item, Fraction(count, len(items))) for item, count in Counter(items).items())
