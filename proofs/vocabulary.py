"""`certify_vocabulary`: how far apart the states of one prefix followed by every token of a vocabulary are, at least.

All states are enclosed in float64 midpoint-radius arithmetic, and all their pairs bounded; the few closest pairs are
then done again in exact fixed point by `certify_separation`, so that the radii cost no part of the bound.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.checker import digest
from proofs.continuations import ARITHMETIC, Continuations
from proofs.crowd import Bound, Crowd
from proofs.distances import decimal_below
from proofs.errors import InvalidInput
from proofs.graph import Graph
from proofs.separation import SeparationCertificate, certify_separation
from proofs.verdict import Verdict
from proofs.weights import checked_weights, weights_digest

KIND = "vocabulary-margin"
EXACT_PAIRS = 8  # the closest pairs, which are done again exactly
LOOKED_AT = math.comb(2 * EXACT_PAIRS, 2) + 1  # more than all pairs of their tokens
ROOM = 4.0  # radii subtracted, so that another order of summation, which moves midpoints, gives no less than a quarter

STATEMENT = (
    "Over the real numbers, with the weights read as exact dyadic numbers, the states of the last tokens of the "
    "prompts {prefix} followed by v after {layer} blocks, for v among the first {tokens} tokens, are at least "
    "{minimum} apart (Euclidean), but for the {named} pairs of tokens with equal embedding rows and the "
    "{open} pairs left open."
)


@dataclass(frozen=True, slots=True, eq=False)
class VocabularyMargin:
    """The margin of a prefix over the first `tokens` tokens.

    Attributes:
        duplicates: classes of tokens that no table tells apart; only the first of each is among the states.
        radius: in the 2-norm, that of every state is at most this.
        others: no pair outside `closest` is closer; not positive where float64 leaves it open, None where all are in.
        closest: the exact certificate of the tokens of the closest pairs.
    """

    graph: Graph
    weights: Mapping[str, Any]
    prefix: tuple[int, ...]
    tokens: int
    duplicates: tuple[tuple[int, ...], ...]
    radius: float
    others: float | None
    closest: SeparationCertificate

    @property
    def pairs(self) -> int:
        """How many pairs of tokens there are."""
        return math.comb(self.tokens, 2)

    @property
    def verdict(self) -> Verdict:
        """`undecided` where a pair is open, `collision` where tokens have equal rows, else `separated`."""
        if self.claim["minimum_lower_bound"] is None or self.closest.found.unresolved:
            return Verdict.UNDECIDED
        return Verdict.COLLISION if self.duplicates else Verdict.SEPARATED

    @property
    def bits(self) -> int:
        """Those of the exact part."""
        return self.closest.bits

    @property
    def claim(self) -> dict[str, Any]:
        """What is claimed, in the fields of a separation certificate."""
        return claim_of(self.closest.to_json(), self.graph, self.prefix, self.tokens, self.duplicates, self.others)

    def to_json(self) -> dict[str, Any]:
        """The certificate as a JSON object."""
        body = {
            "kind": KIND,
            "layer": self.graph.layer,
            "bits": self.bits,
            "weights": dict(self.weights),
            "graphs": [self.graph.to_json()],
            "prefix": list(self.prefix),
            "tokens": self.tokens,
            "duplicates": [list(group) for group in self.duplicates],
            "enclosures": {
                "arithmetic": ARITHMETIC, "largest_radius": repr(self.radius),
                "others_at_least": None if self.others is None else repr(self.others),
            },
            "closest": self.closest.to_json(),
            "claim": self.claim,
        }  # fmt: skip
        return {**body, "digest": digest(body)}


def claim_of(
    closest: Mapping[str, Any],
    graph: Graph,
    prefix: Sequence[int],
    tokens: int,
    duplicates: Sequence[Sequence[int]],
    others: float | None,
) -> dict[str, Any]:
    """What follows from the exact certificate of the closest tokens and the bound of all other pairs."""
    exact, unresolved = closest["claim"], len(closest["unresolved"])
    named = sum(math.comb(len(group), 2) for group in duplicates)
    pairs = math.comb(tokens, 2)
    decided = others is None or others > 0
    known = [] if others is None else [Fraction(others)]
    if exact["minimum_lower_bound"] is not None:
        known.append(Fraction(exact["minimum_lower_bound"]))
    minimum = decimal_below(min(known)) if decided and known else None
    places = exact["closest"]
    rows = [row["token_ids"][-1] for row in closest["prompts"]]
    statement = STATEMENT.format(
        prefix=list(prefix), layer=graph.layer, tokens=tokens, minimum=minimum or "(nothing)", named=named,
        open=unresolved if decided else pairs - named,
    )  # fmt: skip
    return {
        "statement": statement,
        "pairs": pairs,
        "certified": pairs - named - unresolved if decided else 0,
        "minimum_lower_bound": minimum,
        "closest": None if places is None else [rows[place] for place in places],
        "graphs": [digest(graph.to_json())],
    }


def certify_vocabulary(
    graph: Graph,
    weights: Mapping[str, Any],
    prefix: Sequence[int],
    tokens: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> VocabularyMargin:
    """A lower bound on all distances between the last states of a prefix followed by each of the first tokens.

    Args:
        graph: the captured network for one token more than the prefix has.
        weights: arrays of floats by parameter name, as for `certify_separation`.
        prefix: token ids, at least one.
        tokens: how many of the vocabulary's tokens, from the first; at least two.
        workers: processes that share the work, where the system can fork.
        progress: called with (steps done, all).

    Raises:
        InvalidInput: prefix or number of tokens do not fit the graph, or a weight is missing, not finite or misshapen.
        Unsupported: an operation that has no enclosure, or choices (of experts) that differ from token to token.
        Undecided: radii that grow too wide to evaluate the network at all.
    """
    report = progress or (lambda done, of: None)
    check_question(graph, prefix, tokens)
    arrays = checked_weights([graph], weights)
    opened = Continuations.of(graph, arrays, prefix)
    classes = opened.classes(tokens)
    if len(classes) < 2:
        raise InvalidInput(f"Expected two tokens with different rows, but all {tokens} have equal ones; name more.")
    names = [group[0] for group in classes]
    mid, radius = opened.all_states(names, workers, report)
    best = Crowd(mid, radius * ROOM).closest(LOOKED_AT, workers)
    chosen = sorted({place for _, *pair in best[:EXACT_PAIRS] for place in pair})
    rows = [[*prefix, names[place]] for place in chosen]
    exact = certify_separation(graph, arrays, rows, workers=workers)
    others = others_at_least(best, chosen, len(names))
    return VocabularyMargin(
        graph, weights_digest(arrays), tuple(prefix), tokens,
        tuple(tuple(group) for group in classes if len(group) > 1), float(radius.max()) * ROOM, others, exact,
    )  # fmt: skip


def others_at_least(best: Sequence[Bound], chosen: Sequence[int], states: int) -> float | None:
    """No pair that is not among the chosen states has a bound below this; None where every pair is among them.

    `best` are the best pairs of all, in order, more of them than the chosen states have.
    """
    inside = set(chosen)
    outside = (bound for bound, first, second in best if not (first in inside and second in inside))
    return None if len(inside) == states else next(outside)


def check_question(graph: Graph, prefix: Sequence[int], tokens: int) -> None:
    """Raises InvalidInput where prefix and tokens do not fit the graph."""
    vocabulary = next((n.attributes["vocabulary"] for n in graph.nodes if n.operation == "tokens"), 0)
    vocabulary = vocabulary if isinstance(vocabulary, int) else 0
    if not prefix or graph.length != len(prefix) + 1:
        raise InvalidInput(
            f"Expected a prefix of {max(graph.length - 1, 1)} tokens, but got {len(prefix)}; capture the graph for it."
        )
    if not 2 <= tokens <= vocabulary:
        raise InvalidInput(f"Expected from 2 to {vocabulary} tokens, but got {tokens}; the vocabulary has no more.")
    if not all(0 <= token < vocabulary for token in prefix):
        raise InvalidInput(f"Expected token ids below {vocabulary}, but the prefix has others; give other ids.")
