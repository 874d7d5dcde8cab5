"""Two blocks without positions: which prompts collide for every parameter? Settled for all prompts up to a length.

By docs/classification.md two blocks see the last token and, as a distribution over positions, how often each class
(token, token frequencies of the prefix that ends there) occurs. If two prompts agree in that, so do they after all
tokens but one are made one; so words over two letters decide, and both begin with the same letter, say 0 (only then
does the class "0, and no 1 so far" occur). Words that agree have the same share of an initial run and of ones, which
cuts the search into groups. In a group a 64-bit key is compared, which is equal for words that agree; words with equal
keys are then compared exactly. So none is missed, and none is invented.
"""

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from numerics.pairs.compiled import Array, compiled
from proofs.errors import InvalidInput

LONGEST = 32
Word = tuple[int, ...]


def colliding_words(longest: int, *, seed: int = 0) -> list[tuple[Word, Word]]:
    """All pairs of different words over {0, 1} that begin with 0, hold a 1 and agree, of at most `longest` letters.

    An empty list says: without positions two blocks collide for every parameter only on runs of one token, for
    prompts of at most that many tokens over every vocabulary.

    Raises:
        InvalidInput: a length out of range.

    Cost: time 2**longest, memory 8 bytes for every word of the largest group: about 2**longest bytes.
    """
    if not 2 <= longest <= LONGEST:
        raise InvalidInput(f"Expected a length from 2 to {LONGEST}, but got {longest}; choose such a one.")
    values = _class_values(longest, seed)
    scale = math.lcm(*range(1, longest + 1))
    found: list[tuple[Word, Word]] = []
    for group in _groups(longest):
        sizes = [math.comb(length - run - 1, ones - 1) for length, run, ones in group]
        keys = np.empty(sum(sizes), dtype=np.uint64)
        start = 0
        for (length, run, ones), size in zip(group, sizes, strict=True):
            _fill(keys[start : start + size], length, run, ones, values, np.uint64(scale // length))
            start += size
        order = np.sort(keys)
        repeated = set(order[1:][order[1:] == order[:-1]].tolist())
        if repeated:
            found += _exact(group, sizes, keys, repeated)
    return found


def _groups(longest: int) -> Iterator[list[tuple[int, int, int]]]:
    """(length, initial zeros, ones) of words that may agree: equal shares of both."""
    shares: dict[tuple[Fraction, Fraction], list[tuple[int, int, int]]] = {}
    for length in range(2, longest + 1):
        for run in range(1, length):
            for ones in range(1, length - run + 1):
                shares.setdefault((Fraction(run, length), Fraction(ones, length)), []).append((length, run, ones))
    yield from shares.values()


def _class_values(longest: int, seed: int) -> Array:
    """A 64-bit number for every class: [letter, ones, length] -> number, equal for equal shares of ones."""
    drawn = np.random.default_rng(seed)
    values = np.zeros((2, longest + 1, longest + 1), dtype=np.uint64)
    named: dict[tuple[int, Fraction], int] = {}
    for letter in (0, 1):
        for length in range(1, longest + 1):
            for ones in range(length + 1):
                share = letter, Fraction(ones, length)
                if share not in named:
                    named[share] = int(drawn.integers(2**64, dtype=np.uint64))
                values[letter, ones, length] = named[share]
    return values


@compiled
def _fill(keys: Array, length: int, run: int, ones: int, values: Array, scale: Any) -> None:
    """Keys of all words of one kind, in increasing order of the letters behind the first 1."""
    start = values[0, 0, 1] * np.uint64(run) + values[1, 1, run + 1]
    letters = np.zeros(length + 1, dtype=np.int64)
    sums = np.zeros(length + 2, dtype=np.uint64)
    counts = np.zeros(length + 2, dtype=np.int64)
    place, at = run + 2, 0
    sums[run + 1], counts[run + 1] = start, 1
    letters[run + 1] = 1
    if place > length:
        keys[0] = start * scale + np.uint64(3) * values[1, ones, length]
        return
    letters[place] = -1
    while place > run + 1:
        letters[place] += 1
        letter = letters[place]
        if letter > 1:
            place -= 1
            continue
        count = counts[place - 1] + letter
        if count > ones or count + length - place < ones:
            continue
        sums[place] = sums[place - 1] + values[letter, count, place]
        counts[place] = count
        if place == length:
            keys[at] = sums[place] * scale + np.uint64(3) * values[letter, ones, length]
            at += 1
        else:
            place += 1
            letters[place] = -1


def _exact(
    group: list[tuple[int, int, int]], sizes: list[int], keys: Array, repeated: set[int]
) -> list[tuple[Word, Word]]:
    """The pairs among words with equal keys that really agree."""
    classes: dict[object, list[Word]] = {}
    start = 0
    for (length, run, ones), size in zip(group, sizes, strict=True):
        wanted = {i for i, key in enumerate(keys[start : start + size].tolist()) if key in repeated}
        for number, word in enumerate(_words(length, run, ones)):
            if number in wanted:
                classes.setdefault(_seen(word), []).append(word)
        start += size
    return [(first, second) for words in classes.values() for i, first in enumerate(words) for second in words[i + 1 :]]


def _words(length: int, run: int, ones: int) -> Iterator[Word]:
    """In the order of the keys."""

    def rest(letters: int, left: int) -> Iterator[Word]:
        if letters == 0:
            yield ()
            return
        for letter in (0, 1):
            if 0 <= left - letter <= letters - 1:
                for tail in rest(letters - 1, left - letter):
                    yield (letter, *tail)

    for tail in rest(length - run - 1, ones - 1):
        yield (0,) * run + (1, *tail)


def _seen(word: Word) -> object:
    """What two blocks see of a word, exactly."""
    ones = np.cumsum(word).tolist()
    classes = [(letter, Fraction(count, k)) for k, (letter, count) in enumerate(zip(word, ones, strict=True), start=1)]
    return classes[-1], frozenset((c, Fraction(n, len(word))) for c, n in Counter(classes).items())
