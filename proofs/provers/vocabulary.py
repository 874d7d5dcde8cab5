"""`certify_vocabulary`: how far apart the states of one prefix followed by every token of a vocabulary are, at least.

All states are enclosed in float64 midpoint-radius arithmetic, and all their pairs bounded; the few closest pairs are
then done again in exact fixed point by `certify_separation`, so that the radii cost no part of the bound.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofs.arguments import called, of_kind, token_ids, whole
from proofs.enclosures.closest import Crowd
from proofs.enclosures.continuations import ARITHMETIC, Continuations
from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import SCHEMA
from proofs.kernel.result import digest
from proofs.kernel.vocabulary import EXACT_PAIRS, KIND, ROOM, check_question, claim_of, others_at_least, verdict_of
from proofs.network.graph import Graph
from proofs.network.weights import checked_weights, weights_digest
from proofs.provers.separation import SeparationCertificate, certify_separation
from proofs.verdict import Verdict

LOOKED_AT = math.comb(2 * EXACT_PAIRS, 2) + 1  # more than all pairs of their tokens


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
        return verdict_of(self.claim, self.closest.found.unresolved, self.duplicates)

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
            "schema": SCHEMA,
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
        Unsupported: an operation that has no enclosure, choices (of experts) that differ from token to token, or states
            that do not depend on the last one.
        Undecided: radii that grow too wide to evaluate the network at all.
    """
    of_kind("a captured graph", graph, Graph, "capture one with numerics.capture_graph")
    of_kind("weights by name", weights, Mapping, "give the arrays of the model that was captured")
    prefix, tokens = token_ids("the prefix", prefix), whole("tokens of the vocabulary", tokens, least=2)
    workers = whole("workers", workers, least=1)
    report = called("progress", progress) or (lambda done, of: None)
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
    if exact.identical:
        raise Unsupported("Expected states that depend on the last token, but several tokens have one for all weights.")
    others = others_at_least(best, chosen, len(names))
    return VocabularyMargin(
        graph, weights_digest(arrays), tuple(prefix), tokens,
        tuple(tuple(group) for group in classes if len(group) > 1), float(radius.max()) * ROOM, others, exact,
    )  # fmt: skip
