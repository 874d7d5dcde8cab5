"""The kernel for margins over a vocabulary: all states and pairs again, a sample of the states in Arb.

The states of a whole vocabulary do not fit into a certificate, so they are all computed anew, in the float64
midpoint-radius arithmetic that made them and has its own proof: that is what the claim rests on. A sample, drawn by the
verifier's seed, is computed once more in Arb, which shares the meaning of the operations with it and none of the
arithmetic: a second opinion, of which the result says how much it saw.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Undecided
from proofs.enclosures.closest import Bound, Crowd, Crowded
from proofs.enclosures.continuations import ARITHMETIC, Continuations
from proofs.enclosures.distances import decimal_below
from proofs.enclosures.in_arb import ArbOverFloats, Parameters
from proofs.errors import InvalidInput
from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, Sample
from proofs.kernel.price import TooLarge
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.separation import as_read, derive_separation, graphs_in, weights_named
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.processes import in_order
from proofs.verdict import Verdict

KIND = "vocabulary-margin"
EXACT_PAIRS = 8  # the closest pairs, which are done again exactly
ROOM = 4.0  # radii subtracted, so that another order of summation, which moves midpoints, gives no less than a quarter
STATEMENT = (
    "Over the real numbers, with the weights read as exact dyadic numbers, the states of the last tokens of the "
    "prompts {prefix} followed by v after what the graph calls {layer} blocks, for v among the first {tokens} tokens, "
    "are at least {minimum} apart (Euclidean), but for the {named} pairs of tokens with equal embedding rows and the "
    "{open} pairs left open."
)
SAMPLE = 64  # tokens whose states are confirmed in Arb
TOGETHER, BITS = 8, 160  # of them after one another, so that weights are made balls once; of Arb, where floats have 53
MOST_CHOSEN = 2 * EXACT_PAIRS  # tokens of the closest pairs
LOOSEST = 4 * ROOM  # a stated radius is at most so many times the one found anew


def derive_vocabulary(
    certificate: Mapping[str, Any],
    weights: Any,
    sample: int | None = None,
    seed: int = 0,
    workers: int = 1,
) -> Claim:
    """The margin of a prefix over a vocabulary, from all states and pairs computed anew.

    Args:
        certificate: the JSON object.
        weights: arrays of floats by parameter name; they must have the digest that the certificate names.
        sample: how many tokens' states to confirm in Arb as well; None for 64.
        seed: draws these tokens.
        workers: processes that share the work, where the system can fork.

    Raises:
        Rejected, InvalidInput: something does not follow, or the weights are not those of the graph.
    """
    question = _question(certificate, weights)
    classes = question.opened.classes(question.tokens)
    if not same(certificate.get("duplicates"), [group for group in classes if len(group) > 1]):
        raise Rejected("the tokens named as equal are not those with equal rows")
    names = [group[0] for group in classes]
    chosen, closest = _closest(certificate, question, names, seed)
    mid, radius = question.opened.all_states(names, workers, lambda done, of: None)
    crowd = Crowd(mid, radius)
    others = _enclosures(certificate, crowd, chosen, workers)
    claim = claim_of(
        certificate["closest"], question.graph, question.prefix, question.tokens, certificate["duplicates"], others
    )
    expect_claim(certificate["claim"], {**claim, "graphs": [digest(certificate["graphs"][0])]})
    drawn = random.Random(seed).sample(range(len(names)), min(sample or SAMPLE, len(names)))
    sampling = _Sampling(question, names, crowd)
    groups = [drawn[start : start + TOGETHER] for start in range(0, len(drawn), TOGETHER)]
    for fault in in_order(sampling, _confirmed, groups, workers):
        if fault:
            raise Rejected(fault)
    reason = (
        f"the states of all {len(names)} tokens with distinct rows and their {math.comb(len(names), 2)} distances "
        f"computed again in {ARITHMETIC}, {len(drawn)} of these states in Arb as well (a second opinion); the closest "
        f"{len(chosen)} tokens confirmed in Arb and exact integers"
    )
    bounds = {name: certificate["enclosures"][name] for name in ("arithmetic", "largest_radius", "others_at_least")}
    follows = {**as_read(certificate, "prefix", "tokens", "duplicates"), "enclosures": bounds, "closest": closest}
    opinion = Sample(len(drawn), len(names), seed)
    verdict = verdict_of(claim, certificate["closest"]["unresolved"], certificate["duplicates"])
    return Claim(KIND, verdict, claim["statement"], follows, len(drawn), reason, second_opinion=opinion)


def verdict_of(claim: Mapping[str, Any], unresolved: Sequence[Any], duplicates: Sequence[Any]) -> Verdict:
    """`undecided` where a pair is open, `collision` where tokens have equal rows, else `separated`."""
    if claim["minimum_lower_bound"] is None or unresolved:
        return Verdict.UNDECIDED
    return Verdict.COLLISION if duplicates else Verdict.SEPARATED


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What the certificate is about, each part checked by itself."""

    graph: Graph
    weights: Mapping[str, NDArray[Any]]
    prefix: tuple[int, ...]
    tokens: int
    opened: Continuations


def _question(certificate: Mapping[str, Any], weights: Any) -> _Question:
    graphs = graphs_in(certificate)
    if len(graphs) != 1:
        raise Rejected("there is more than one graph")
    graph = next(iter(graphs.values()))
    arrays = weights_named(certificate, graphs, weights)
    prefix, tokens = certificate.get("prefix"), certificate.get("tokens")
    if not isinstance(prefix, list) or any(type(token) is not int for token in prefix) or type(tokens) is not int:
        raise Rejected("the prefix or the number of tokens is not of integers")
    check_question(graph, prefix, tokens)
    return _Question(graph, arrays, tuple(prefix), tokens, Continuations.of(graph, arrays, prefix))


def _closest(certificate: Any, asked: _Question, names: Sequence[int], seed: int) -> tuple[list[int], Any]:
    """The places of the tokens that the exact certificate is of, which must be of this prefix, graph and weights; and
    what it must be."""
    exact = certificate.get("closest")
    if not isinstance(exact, Mapping):
        raise Rejected("there is no certificate of the closest tokens")
    if exact.get("kind") != SEPARATION or exact.get("schema") != SCHEMA:
        raise Rejected("the certificate of the closest tokens is of another kind or version")
    try:
        follows = derive_separation(exact, asked.weights, seed=seed).certificate
    except (Rejected, InvalidInput) as fault:
        raise Rejected(f"the certificate of the closest tokens: {fault}") from None
    if not same(exact["claim"]["graphs"], certificate["claim"]["graphs"]) or exact["identical"]:
        raise Rejected("the certificate of the closest tokens is of another graph, or of equal prompts")
    if exact.get("observation") is not None or not same(certificate.get("bits"), exact["bits"]):
        raise Rejected("the certificate of the closest tokens is of another kind, or of another number of bits")
    rows = [tuple(row["token_ids"]) for row in exact["prompts"]]
    places = {name: place for place, name in enumerate(names)}
    many = len(rows) > MOST_CHOSEN or len({*rows}) < len(rows)
    if many or any(row[:-1] != asked.prefix or row[-1] not in places for row in rows):
        raise Rejected("the certificate of the closest tokens is of other prompts, of too many, or of one twice")
    return [places[row[-1]] for row in rows], follows


def _enclosures(certificate: Mapping[str, Any], crowd: Crowd, chosen: Sequence[int], workers: int) -> float | None:
    """The stated bound of all pairs outside the chosen ones, once it and the largest radius are confirmed."""
    stated = certificate.get("enclosures")
    if not isinstance(stated, Mapping) or stated.get("arithmetic") != ARITHMETIC:
        raise Rejected("the enclosures are not said to be of the arithmetic that made them")
    largest, found = _number(stated.get("largest_radius")), float(crowd.radius.max())
    if not found <= largest <= LOOSEST * found:
        raise Rejected(f"the largest radius is stated as {largest}, but {found} follows")
    try:
        best = crowd.closest(math.comb(len(chosen), 2) + 1, workers)
    except Crowded as fault:  # which is no fault of the certificate
        raise TooLarge(str(fault)) from None
    found_others = others_at_least(best, chosen, len(crowd.mid))
    text = stated.get("others_at_least")
    if found_others is None or text is None:
        if text is not None or found_others is not None:
            raise Rejected("whether there are pairs besides the closest is stated wrongly")
        return None
    others = _number(text)
    if not found_others - LOOSEST * 2 * found <= others <= found_others:
        raise Rejected(f"all other pairs are said to be {others} apart, but {found_others} follows")
    return others


def _number(text: Any) -> float:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Rejected("a bound is not a number")
    return value


@dataclass(frozen=True, slots=True, eq=False)
class _Sampling:
    """What a sampled state is confirmed against: the very midpoints and radii that the distances were taken of."""

    question: _Question
    names: Sequence[int]
    crowd: Crowd


def _confirmed(sampling: _Sampling, places: Sequence[int]) -> str:
    """Empty if Arb's enclosures of some states lie within the float64 ones, else what is wrong."""
    question = sampling.question
    parameters = Parameters(question.weights)
    for place in places:
        token, mid = sampling.names[place], sampling.crowd.mid[place].tolist()
        radius = float(sampling.crowd.radius[place])
        try:
            with ArbOverFloats(BITS) as balls:
                tokens = np.array([[*question.prefix, token]], dtype=np.int64)
                inputs = {"tokens": tokens, **parameters.of(question.graph)}
                state = evaluate(question.graph, inputs, balls)[0, -1]
                gaps = [ball - flint.arb(m) for ball, m in zip(state, mid, strict=True)]
                inside = bool(sum((gap * gap for gap in gaps), start=flint.arb(0)) <= flint.arb(radius) ** 2)
        except Undecided as fault:
            return f"token {token}: {fault}"
        if not inside:
            return f"token {token}: Arb's state does not lie within the radius of its float64 enclosure"
    return ""


def claim_of(
    closest: Mapping[str, Any],
    graph: Graph,
    prefix: Sequence[int],
    tokens: int,
    duplicates: Sequence[Sequence[int]],
    others: float | None,
) -> dict[str, Any]:
    """What follows from the exact certificate of the closest tokens and the bound of all other pairs.

    A pair left open is of two classes of tokens with equal rows, and every pair between them is.
    """
    exact, rows = closest["claim"], [row["token_ids"][-1] for row in closest["prompts"]]
    size = {group[0]: len(group) for group in duplicates}
    sizes = [size.get(token, 1) for token in rows]
    unresolved = sum(sizes[first] * sizes[second] for first, second in closest["unresolved"])
    named = sum(math.comb(len(group), 2) for group in duplicates)
    pairs = math.comb(tokens, 2)
    decided = others is None or others > 0
    known = [] if others is None else [Fraction(others)]
    if exact["minimum_lower_bound"] is not None:
        known.append(Fraction(exact["minimum_lower_bound"]))
    minimum = decimal_below(min(known)) if decided and known else None
    places = exact["closest"]
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
