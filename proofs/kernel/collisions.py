"""Pairs of prompts with one state for every value of the parameters, and what a pair is an example of.

A pair is certified on the graphs of its own two lengths by value numbering, and for these lengths alone. The family
names what the two prompts have in common; it plays no part in the proof.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any

from proofs.kernel.patterns import Prompt
from proofs.kernel.result import Rejected, same
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph

STATEMENTS = {
    "repeated tokens": "r(a^{m}) = r(a^{k}) for every token a",
    "permuted prefixes": "r(s) = r(t) for s = {s}, t = {t}: the same last token, and the others in another order",
    "proportional multisets": "r(s) = r(t) for s = {s}, t = {t}: the same last token and the same relative frequencies",
    "powers of one word": "r(s) = r(t) for s = {s}, t = {t}: powers of one word",
    "window reach": "r(s) = r(t) for s = {s}, t = {t}: the tokens in which they differ are out of reach",
    "equal states": "r(s) = r(t) for s = {s}, t = {t}",
}
SCOPE = ", for all parameters and whatever tokens stand for the numbers; shown for {m} and {k} tokens, as captured."


def family_of(first: Prompt, second: Prompt) -> str:
    """What two different prompts have in common, in the order of the table."""
    if repeated(first, second):
        return "repeated tokens"
    if powers_of_one_word(first, second):
        return "powers of one word"
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


def powers_of_one_word(first: Prompt, second: Prompt) -> bool:
    """Powers of one word: with weights geometric in the distance every copy is the last one times one factor."""
    size = gcd(len(first), len(second))
    words = {prompt[:size] for prompt in (first, second)}
    return len(words) == 1 and all(prompt == prompt[:size] * (len(prompt) // size) for prompt in (first, second))


def statement(first: Prompt, second: Prompt) -> str:
    """The claim of one pair, in words."""
    m, k = len(first), len(second)
    return (STATEMENTS[family_of(first, second)] + SCOPE).format(m=m, k=k, s=list(first), t=list(second))


def derive_collisions(graphs: Mapping[int, Graph], claimed: Any) -> list[dict[str, Any]]:
    """The collisions that a certificate claims, each shown again.

    Args:
        graphs: well-formed, by length.
        claimed: a list of families with an `example` and the pairs of `lengths` at which they are shown; an example
            stands for the prompts of other lengths that `examples` lists.

    Raises:
        Rejected: a pair is not shown to be equal, or anything else is stated of it than follows.
    """
    if not isinstance(claimed, list):
        raise Rejected("the structural collisions are no list")
    numbering = Numbering(graphs.values())
    found: list[dict[str, Any]] = []
    for entry in claimed:
        pairs = entry.get("pairs") if isinstance(entry, Mapping) else None
        if not isinstance(pairs, list) or not pairs:
            raise Rejected("a structural collision names no pair of prompts")
        prompts = [(_prompt(pair, 0, graphs), _prompt(pair, 1, graphs)) for pair in pairs]
        for first, second in prompts:
            if first == second or not numbering.equal(graphs[len(first)], first, graphs[len(second)], second):
                raise Rejected(f"the prompts {list(first)} and {list(second)} are not shown to have one state")
        found.append(collision(prompts))
    if not same(claimed, found):
        raise Rejected("a structural collision is stated otherwise than it follows")
    return found


def collision(pairs: Sequence[tuple[Prompt, Prompt]]) -> dict[str, Any]:
    """Pairs of one family as the JSON object that records hold."""
    first, second = pairs[0]
    return {
        "family": family_of(first, second),
        "statement": statement(first, second),
        "example": [list(first), list(second)],
        "lengths": [[len(s), len(t)] for s, t in pairs],
        "pairs": [[list(s), list(t)] for s, t in pairs],
    }


def _prompt(pair: Any, place: int, graphs: Mapping[int, Graph]) -> Prompt:
    prompt = pair[place] if isinstance(pair, list) and len(pair) == 2 else None
    if not isinstance(prompt, list) or len(prompt) not in graphs or any(type(token) is not int for token in prompt):
        raise Rejected("a structural collision is of prompts of a length that no graph is of")
    return tuple(prompt)
