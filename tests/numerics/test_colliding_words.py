"""Words that two blocks without positions cannot tell apart: the fast search against exact enumeration."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from numerics.pairs.colliding_words import _class_values, _fill, _groups, _seen, _words, colliding_words
from proofs.errors import InvalidInput
from proofs.theorems.classification import collides

LONGEST = 9


def words(longest: int) -> list[tuple[int, ...]]:
    return [(0, *tail) for n in range(1, longest) for tail in product((0, 1), repeat=n) if any(tail)]


def test_every_word_is_in_one_group_and_words_that_agree_are_in_the_same() -> None:
    groups = [[word for kind in group for word in _words(*kind)] for group in _groups(LONGEST)]
    assert sorted(word for group in groups for word in group) == sorted(words(LONGEST))
    place = {word: number for number, group in enumerate(groups) for word in group}
    shares = {word: (Fraction(word.index(1), len(word)), Fraction(sum(word), len(word))) for word in place}
    assert len({(place[word], shares[word]) for word in place}) == len(groups)


def test_keys_follow_the_words_and_are_equal_where_they_agree() -> None:
    values = _class_values(LONGEST, 0)
    scale = 2520
    for length, run, ones in ((9, 2, 4), (9, 8, 1), (5, 1, 4), (6, 2, 2)):
        listed = list(_words(length, run, ones))
        keys = np.empty(len(listed), dtype=np.uint64)
        _fill(keys, length, run, ones, values, np.uint64(scale // length))
        for key, word in zip(keys.tolist(), listed, strict=True):
            counts = np.cumsum(word).tolist()
            total = sum(int(values[w, c, k]) for k, (w, c) in enumerate(zip(word, counts, strict=True), start=1))
            assert key == (total * (scale // length) + 3 * int(values[word[-1], ones, length])) % 2**64


def test_none_is_found_as_in_exact_enumeration() -> None:
    seen: dict[object, tuple[int, ...]] = {}
    for word in words(LONGEST):
        assert seen.setdefault(_seen(word), word) == word
    assert colliding_words(LONGEST) == []


def test_agreement_is_that_of_the_classification() -> None:
    for first, second in product(words(5), repeat=2):
        assert (_seen(first) == _seen(second)) is collides("none", 2, first, second)


@pytest.mark.slow
def test_two_blocks_without_positions_collide_on_runs_alone_up_to_24_tokens() -> None:
    assert colliding_words(24) == []


def test_a_length_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="length"):
        colliding_words(33)
