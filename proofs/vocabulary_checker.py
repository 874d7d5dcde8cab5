"""The kernel for margins over a vocabulary: all states and pairs again, a sample of the states in Arb.

The states of a whole vocabulary do not fit into a certificate, so they are computed anew, in the same float64
midpoint-radius arithmetic that made them; a sample drawn by the certificate's digest is confirmed prompt by prompt in
Arb, which shares the meaning of the operations with it and none of the arithmetic. The result says so.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Undecided
from proofs.checker import CheckResult, digest, same
from proofs.continuations import ARITHMETIC, Continuations
from proofs.crowd import Crowd
from proofs.errors import InvalidInput, SipitError
from proofs.forked import in_order, shared
from proofs.graph import Graph
from proofs.interpreter import evaluate
from proofs.lemmas import Rejected
from proofs.separation_checker import ArbOverFloats, Parameters, check_separation, graphs_in, weights_named
from proofs.verdict import Verdict
from proofs.vocabulary import EXACT_PAIRS, KIND, ROOM, check_question, claim_of, others_at_least

SAMPLE = 64  # tokens whose states are confirmed in Arb
TOGETHER = 8  # of them after one another, so that the weights are made balls once
BITS = 160  # of Arb; the enclosures are of 53
MOST_CHOSEN = 2 * EXACT_PAIRS  # tokens of the closest pairs
LOOSEST = 4 * ROOM  # a stated radius is at most so many times the one found anew


def check_vocabulary(
    certificate: Mapping[str, Any],
    weights: Any,
    sample: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Re-checks a certificate of kind `vocabulary-margin`.

    Args:
        certificate: the JSON object.
        weights: arrays of floats by parameter name; they must have the digest that the certificate names.
        sample: how many tokens' states to confirm in Arb, drawn by the certificate's digest; None for 64.
        workers: processes that share the work, where the system can fork.
        progress: called with (steps done, all).

    Raises:
        InvalidInput: no weights were given.
    """
    if weights is None:
        raise InvalidInput("Expected the weights that the certificate is about, but got none; name them with --model.")
    report = progress or (lambda done, of: None)
    try:
        question = _question(certificate, weights)
        classes = question.opened.classes(question.tokens)
        if not same(certificate.get("duplicates"), [group for group in classes if len(group) > 1]):
            raise Rejected("the tokens named as equal are not those with equal rows")
        names = [group[0] for group in classes]
        chosen = _closest(certificate, question, names)
        mid, radius = question.opened.all_states(names, workers, report)
        crowd = Crowd(mid, radius)
        others = _enclosures(certificate, crowd, chosen, workers)
        follows = claim_of(
            certificate["closest"], question.graph, question.prefix, question.tokens, certificate["duplicates"], others
        )
        if not same(certificate["claim"], follows):
            raise Rejected("the claim is not the one that follows from its parts")
        drawn = random.Random(certificate["digest"]).sample(range(len(names)), min(sample or SAMPLE, len(names)))
        sampling = _Sampling(question, names, crowd)
        groups = [drawn[start : start + TOGETHER] for start in range(0, len(drawn), TOGETHER)]
        for done, fault in enumerate(in_order(sampling, _confirmed, groups, workers)):
            if fault:
                raise Rejected(fault)
            report(done + 1, len(groups))
    except (Rejected, SipitError) as fault:
        return CheckResult(Verdict.REJECTED, str(fault), KIND, 0)
    reason = (
        f"the states of all {len(names)} tokens with distinct rows and their {math.comb(len(names), 2)} distances "
        f"computed again in {ARITHMETIC}; {len(drawn)} of these states confirmed in Arb; the closest "
        f"{len(chosen)} tokens confirmed in Arb and exact integers"
    )
    covers = (
        "digest", "graphs", "weights", "duplicates", "distances", "closest",
        "enclosures" if len(drawn) == len(names) else "enclosures, computed again and sampled in Arb",
    )  # fmt: skip
    return CheckResult(Verdict.ACCEPTED, reason, KIND, len(drawn), covers)


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


def _closest(certificate: Mapping[str, Any], question: _Question, names: Sequence[int]) -> list[int]:
    """The places of the tokens that the exact certificate is of; it must be of this prefix, graph and weights."""
    exact = certificate.get("closest")
    if not isinstance(exact, Mapping):
        raise Rejected("there is no certificate of the closest tokens")
    outcome = check_separation(exact, question.weights)
    if outcome.verdict is not Verdict.ACCEPTED:
        raise Rejected(f"the certificate of the closest tokens: {outcome.reason}")
    if not same(exact["claim"]["graphs"], [digest(question.graph.to_json())]) or exact["identical"]:
        raise Rejected("the certificate of the closest tokens is of another graph, or of equal prompts")
    if exact.get("observation") is not None or not same(certificate.get("bits"), exact["bits"]):
        raise Rejected("the certificate of the closest tokens is of another kind, or of another number of bits")
    rows = [tuple(row["token_ids"]) for row in exact["prompts"]]
    places = {name: place for place, name in enumerate(names)}
    if len(rows) > MOST_CHOSEN or any(row[:-1] != question.prefix or row[-1] not in places for row in rows):
        raise Rejected("the certificate of the closest tokens is of other prompts, or of too many")
    return [places[row[-1]] for row in rows]


def _enclosures(certificate: Mapping[str, Any], crowd: Crowd, chosen: Sequence[int], workers: int) -> float | None:
    """The stated bound of all pairs outside the chosen ones, once it and the largest radius are confirmed."""
    stated = certificate.get("enclosures")
    if not isinstance(stated, Mapping) or stated.get("arithmetic") != ARITHMETIC:
        raise Rejected("the enclosures are not said to be of the arithmetic that made them")
    largest, found = _number(stated.get("largest_radius")), float(crowd.radius.max())
    if not found <= largest <= LOOSEST * found:
        raise Rejected(f"the largest radius is stated as {largest}, but {found} follows")
    best = crowd.closest(math.comb(len(chosen), 2) + 1, workers)
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


def _confirmed(places: Sequence[int]) -> str:
    """Empty if Arb's enclosures of some states lie within the float64 ones, else what is wrong."""
    sampling: _Sampling = shared()
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
