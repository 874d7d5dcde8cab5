"""Pairs of prompts with one state for every value of the parameters, and what a pair is an example of.

A pair is certified on the graphs of its own two lengths by value numbering, and for these lengths alone. The family
names what the two prompts have in common; it plays no part in the proof. Looked at are, for all lengths at hand, the
pairs that known kinds of networks cannot tell apart: one token repeated, a prefix in another order, a word and its
double, a first token out of reach.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import gcd
from typing import Any

from proofs.kernel.patterns import Prompt
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph

Pair = tuple[Prompt, Prompt]

STATEMENTS = {  # what the pairs that are listed have in common; others that have it too may differ
    "repeated tokens": "r(a^m) = r(a^k) for every token a",
    "permuted prefixes": "r(s) = r(t) for {pairs}, which end alike and hold the same tokens in other orders",
    "proportional multisets": "r(s) = r(t) for {pairs}, which end alike with the same relative frequencies",
    "powers of one word": "r(s) = r(t) for {pairs}, which are powers of one word",
    "matched prefixes": "r(s) = r(t) for {pairs}, whose positions can be matched so that tokens, and the frequencies "
    "of all tokens so far, are equal",
    "window reach": "r(s) = r(t) for {pairs}, which end alike",
    "equal states": "r(s) = r(t) for {pairs}",
}
SCOPE = (
    ", for all parameters at which both are defined, whatever tokens stand for the numbers: shown as captured for "
    "{lengths} tokens."
)


def family_of(first: Prompt, second: Prompt) -> str:
    """What two different prompts have in common: the first of these families that they are of."""
    if repeated(first, second):
        return "repeated tokens"
    if powers_of_one_word(first, second):
        return "powers of one word"
    if seen_by_two_blocks(first) == seen_by_two_blocks(second):
        return "matched prefixes"
    if proportional(first, second):
        return "permuted prefixes" if len(first) == len(second) else "proportional multisets"
    return "window reach" if first[-1] == second[-1] else "equal states"


def repeated(first: Prompt, second: Prompt) -> bool:
    """One token, repeated: all rows are equal, and a mixture of equal rows is that row."""
    return len(set(first + second)) == 1


def proportional(first: Prompt, second: Prompt) -> bool:
    """Same last token and proportional counts: one mixture without positions sees relative frequencies only."""
    counts = [Counter(prompt) for prompt in (first, second)]
    equal = all(counts[0][u] * len(second) == counts[1][u] * len(first) for u in {*first, *second})
    return first[-1] == second[-1] and equal


def seen_by_two_blocks(prompt: Prompt) -> Hashable:
    """What two blocks without positions see: the last class, and how often each (token, frequencies so far) occurs."""
    classes = [(token, _frequencies(prompt[: k + 1])) for k, token in enumerate(prompt)]
    return classes[-1], _frequencies(classes)


def _frequencies(items: Sequence[Hashable]) -> frozenset[tuple[Hashable, Fraction]]:
    return frozenset((item, Fraction(count, len(items))) for item, count in Counter(items).items())


def powers_of_one_word(first: Prompt, second: Prompt) -> bool:
    """Powers of one word: with weights geometric in the distance every copy is the last one times one factor."""
    size = gcd(len(first), len(second))
    words = {prompt[:size] for prompt in (first, second)}
    return len(words) == 1 and all(prompt == prompt[:size] * (len(prompt) // size) for prompt in (first, second))


def statement(pairs: Sequence[Pair]) -> str:
    """The claim of pairs of one family, in words: of these pairs, for their lengths, and of none besides."""
    first, second = pairs[0]
    lengths = ", ".join(dict.fromkeys(f"{len(s)} and {len(t)}" for s, t in pairs))
    listed = "" if len(pairs) == 1 else f"the {len(pairs)} pairs listed, such as "
    family = STATEMENTS[family_of(first, second)].format(pairs=f"{listed}s = {list(first)} and t = {list(second)}")
    return family + SCOPE.format(lengths=lengths)


def find_collisions(graphs: Mapping[int, Graph]) -> list[dict[str, Any]]:
    """All families among the pairs that are looked at, as records hold them: one entry for each.

    Args:
        graphs: well-formed, by length; a family is claimed for the lengths at which it is shown, and for no others.
    """
    return by_family(colliding_pairs(graphs))


def by_family(shown: Sequence[Pair]) -> list[dict[str, Any]]:
    """Pairs that are shown to collide, as records hold them: one entry for each family."""
    found: dict[str, list[Pair]] = {}
    for pair in shown:
        found.setdefault(family_of(*pair), []).append(pair)
    return [
        {
            "family": family,
            "statement": statement(pairs),
            "example": [list(prompt) for prompt in pairs[0]],
            "lengths": [[len(s), len(t)] for s, t in pairs],
            "pairs": [[list(s), list(t)] for s, t in pairs],
        }
        for family, pairs in found.items()
    ]


def colliding_pairs(graphs: Mapping[int, Graph]) -> list[Pair]:
    """The candidates that are shown to have one state, whatever the parameters.

    Where the first token is out of reach, a prefix in another order says no more than that.
    """
    numbering = Numbering(graphs.values())
    found = [(s, t) for s, t in _plain(graphs) if numbering.equal(graphs[len(s)], s, graphs[len(t)], t)]
    blind = {len(s) for s, t in found if len(s) == len(t)}
    others = (pair for n in sorted({*graphs} - blind) for pair in reordered(n) if len(pair[1]) in graphs)
    return [*found, *((s, t) for s, t in others if numbering.equal(graphs[len(s)], s, graphs[len(t)], t))]


def looked_at(lengths: Collection[int]) -> set[Prompt]:
    """The prompts that are numbered at most where networks for so many tokens are given."""
    pairs = [*_plain(lengths), *(pair for n in lengths for pair in reordered(n))]
    return {prompt for pair in pairs for prompt in pair if len(prompt) in lengths}


def _plain(lengths: Collection[int]) -> list[Pair]:
    """Runs of one token, and words that differ in the first alone, or in the last where they are short."""
    runs = [((1,) * m, (1,) * k) for m, k in combinations(sorted(lengths), 2)]
    short = tuple(range(1, min(lengths, default=0)))
    last = [((*short, len(short) + 1), (*short, len(short) + 2))] if short else []
    return [*runs, *last, *((tuple(range(1, n + 1)), (n + 1, *range(2, n + 1))) for n in sorted(lengths) if n > 1)]


def reordered(length: int) -> Iterator[Pair]:
    """Prompts of distinct tokens beside the same in another order, and beside each token twice as often."""
    word = tuple(range(1, length + 1))
    if length > 2:
        yield word, (2, 1, *word[2:])
    if length > 1:
        yield word, word + word
        yield word, (*word[:-1], *word[:-1], word[-1], word[-1])
