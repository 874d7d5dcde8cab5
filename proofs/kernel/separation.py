"""The kernel for separation certificates: every step again in exact fixed point, distances in exact integers.

A segment is evaluated from the enclosure that it starts from, and the result must lie in the enclosure that the
certificate gives for its end. Some steps, drawn by the verifier, are evaluated in Arb too, which shares with the engine
the meaning of the graph and nothing of its arithmetic. The verifier may ask for a sample of the steps alone. Of very
many prompts only the least distances are taken in exact integers, as bounds in float64 exclude the other pairs.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_point import LARGEST, FixedPoint, Sliced
from proofs.enclosures.distances import decimal_below, lower_bound, separation
from proofs.enclosures.enclosure import Enclosure, whole
from proofs.enclosures.in_arb import ArbOverFloats, Parameters, as_balls
from proofs.enclosures.matching import observed_again
from proofs.enclosures.segments import STATE, cuts, inputs_of, segments
from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, Sample, unlabelled
from proofs.kernel.equal_pairs import EqualPairs, derive_equal_pairs
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.kernel.wellformed import well_formed
from proofs.network.graph import Graph
from proofs.network.weights import checked_weights, weights_digest
from proofs.operations.interpreter import evaluate
from proofs.verdict import Verdict

KIND = "separation"
STATEMENT = (
    "Over the real numbers, with the weights read as exact dyadic numbers, the states of the last tokens of any two of "
    "the {prompts} prompts after what the graph calls {layer} blocks are at least {minimum} apart (Euclidean), but for "
    "the {named} pairs that are named as equal and the {open} that are left open."
)
GUARD, ASKED = 64, 2  # bits beyond those of the enclosure at hand; steps that are evaluated in Arb as well
LARGEST_SET, ALL_EXACT = 20_000, 1500  # prompts; and those of which every pair is taken in exact integers


@dataclass(frozen=True, slots=True)
class Step:
    """From one enclosure to the next: `segments` of the graph of one prompt, `start` None for its tokens."""

    place: int
    prompt: int
    tokens: tuple[int, ...]
    segments: tuple[Graph, ...]
    start: Enclosure | None
    end: Enclosure
    bits: int


def derive_separation(certificate: Mapping[str, Any], weights: Any, steps: int | None = None, seed: int = 0) -> Claim:
    """The distances between the states that a certificate encloses, once its enclosures are confirmed.

    Args:
        certificate: the JSON object.
        weights: arrays of floats by parameter name; they must have the digest that the certificate names.
        steps: how many of the steps to evaluate again; None for all of them.
        seed: draws the steps, and is the verifier's: a file that could choose it could be built so that its false step
            is never drawn.

    Raises:
        Rejected, InvalidInput: something does not follow, or the weights are not those of the graphs.
    """
    graphs = graphs_in(certificate)
    arrays = weights_named(certificate, graphs, weights)
    plan, prompts, states = _plan(certificate, graphs)
    _expect_claims(certificate, graphs, arrays, prompts, states)
    chosen = plan
    if steps is not None and steps < len(plan):
        chosen = sorted(random.Random(seed).sample(plan, steps), key=lambda step: step.place)
    sliced: Sliced = {}
    for step in chosen:
        _expect_contained(step, arrays, sliced)
    asked = random.Random(seed + 1).sample(chosen, min(ASKED, len(chosen)))
    inputs = Parameters(arrays)
    for step in asked:
        _expect_in_arb(step, inputs)
    sample = None if chosen is plan else Sample(len(chosen), len(plan), seed)
    exactly = "all distances in exact integers" if len(states) <= ALL_EXACT else "the least distances in exact integers"
    again = f"{'all' if sample is None else len(chosen)} of {len(plan)} steps again in fixed point"
    reason = f"{again}, {len(asked)} in Arb too, {exactly}"
    sentence = certificate["claim"]["statement"]
    if sample is not None:
        sentence += f" This rests on {len(plan) - len(chosen)} of {len(plan)} steps that were not evaluated again."
    verdict = verdict_of(certificate["identical"], certificate["unresolved"])
    follows = as_read(certificate, "every", "identical", "observation", "unresolved")
    names = ("token_ids", "bits", *(("enclosures",) if sample is None else ()))  # one not drawn may be anything
    follows["prompts"] = [{name: row[name] for name in names} for row in certificate["prompts"]]
    opinion = Sample(len(asked), len(plan), seed)
    return Claim(KIND, verdict, sentence, follows, len(chosen), reason, sample, opinion)


def verdict_of(identical: Sequence[Any], unresolved: Sequence[Any]) -> Verdict:
    """`collision` where a pair is equal, `undecided` where one is open, else `separated`."""
    if identical:
        return Verdict.COLLISION
    return Verdict.UNDECIDED if unresolved else Verdict.SEPARATED


def as_read(certificate: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Of a certificate about weights what both kinds have in common, and fields by name: all without their labels."""
    weights = {name: certificate["weights"][name] for name in ("sha256", "parameters")}
    graphs = [unlabelled(graph) for graph in certificate["graphs"]]
    follows = {name: certificate[name] for name in ("kind", "bits", "claim", "digest", *names)}
    return {**follows, "schema": SCHEMA, "weights": weights, "graphs": graphs}


def graphs_in(certificate: Mapping[str, Any]) -> dict[int, Graph]:
    """The well-formed graphs of a certificate by length, once its own digest and theirs are confirmed."""
    body = {name: value for name, value in certificate.items() if name != "digest"}
    if certificate.get("digest") != digest(body):
        raise Rejected("the content is not what its digest says")
    written, claim = certificate.get("graphs"), certificate.get("claim")
    if not isinstance(written, list) or not written or not isinstance(claim, Mapping):
        raise Rejected("there is no graph, or no claim")
    if not same(claim.get("graphs"), [digest(graph) for graph in written]):
        raise Rejected("the graphs are not those that the claim names by their digests")
    graphs = [Graph.from_json(graph) for graph in written]
    if any(not same(certificate.get("layer"), graph.layer) for graph in graphs):
        raise Rejected("the layer is not that of the graphs")
    widths = {graph.nodes[graph.output].type.shape[-1:] for graph in graphs}
    if len({graph.length for graph in graphs}) != len(graphs) or len(widths) > 1:
        raise Rejected("two graphs are of one length, or their states of different widths")
    for graph in graphs:
        well_formed(graph)
    return {graph.length: graph for graph in graphs}


def weights_named(certificate: Mapping[str, Any], graphs: Mapping[int, Graph], weights: Any) -> dict[str, NDArray[Any]]:
    """The weights as arrays, once they have the digest that the certificate names."""
    arrays = checked_weights(graphs.values(), weights)
    claimed = certificate.get("weights")
    if not isinstance(claimed, Mapping) or not same(
        {name: claimed.get(name) for name in ("sha256", "parameters")}, weights_digest(arrays)
    ):
        raise Rejected("the weights are not those that the certificate names by their digest")
    return arrays


def _plan(
    certificate: Mapping[str, Any], graphs: Mapping[int, Graph]
) -> tuple[list[Step], list[tuple[int, ...]], list[Enclosure]]:
    """Every step of every prompt, block by block; the prompts; and their last states."""
    rows = certificate.get("prompts")
    if not isinstance(rows, list) or not 2 <= len(rows) <= LARGEST_SET:
        raise Rejected(f"there are no two prompts, or more than {LARGEST_SET}")
    every = whole(certificate, "every")
    if every < 1:
        raise Rejected("the number of blocks between enclosures is not positive")
    plan: list[Step] = []
    prompts: list[tuple[int, ...]] = []
    states: list[Enclosure] = []
    largest = 0
    cut = {length: segments(graph, cuts(graph)) for length, graph in graphs.items()}
    for number, row in enumerate(rows):
        steps = list(_steps(number, row, every, graphs, cut))
        largest = max(largest, steps[0].bits)
        prompts.append(steps[-1].tokens)
        states.append(steps[-1].end)
        plan += steps
    if not same(certificate.get("bits"), largest):
        raise Rejected("the number of bits is not the largest among the prompts")
    return sorted(plan, key=lambda step: (step.place, step.prompt)), prompts, states


def _steps(
    number: int, row: Any, every: int, graphs: Mapping[int, Graph], cut: Mapping[int, tuple[Graph, ...]]
) -> Iterator[Step]:
    tokens = row.get("token_ids") if isinstance(row, Mapping) else None
    if not isinstance(tokens, list) or len(tokens) not in graphs or any(type(t) is not int for t in tokens):
        raise Rejected(f"prompt {number} has no tokens, or a length that no graph is of")
    graph = graphs[len(tokens)]
    vocabulary = next(n.attributes["vocabulary"] for n in graph.nodes if n.operation == "tokens")
    if not isinstance(vocabulary, int) or not all(0 <= token < vocabulary for token in tokens):
        raise Rejected(f"prompt {number} has tokens outside the vocabulary")
    width = graph.nodes[graph.output].type.shape[-1]
    bits, parts, written = whole(row, "bits"), cut[len(tokens)], row.get("enclosures")
    kept = places(len(parts), every)
    if not isinstance(written, list) or len(written) != len(kept):
        raise Rejected(f"prompt {number} does not have one enclosure per step")
    sizes = [*[len(tokens)] * (len(kept) - 1), 1]
    ends = [Enclosure.from_json(entry, size, width) for entry, size in zip(written, sizes, strict=True)]
    _expect_falling(number, [bits, *(end.bits for end in ends)])
    start, begin = None, 0
    for place, end in zip(kept, ends, strict=True):
        yield Step(place, number, tuple(tokens), parts[begin : place + 1], start, end, bits)
        start, begin = end, place + 1


def _expect_falling(number: int, bits: list[int]) -> None:
    """Raises Rejected where a number of bits is beyond the largest, or grows from one enclosure to the next."""
    if bits[0] > LARGEST or sorted(bits, reverse=True) != bits:
        raise Rejected(f"the numbers of bits of prompt {number} do not fall from block to block")


def _expect_claims(
    certificate: Mapping[str, Any],
    graphs: Mapping[int, Graph],
    weights: Mapping[str, NDArray[Any]],
    prompts: list[tuple[int, ...]],
    states: list[Enclosure],
) -> None:
    """Raises Rejected unless all that is claimed follows: equal pairs with their reasons, distances, open pairs."""
    skipped = derive_equal_pairs(EqualPairs(graphs, weights, prompts), certificate.get("identical"), len(prompts))
    minimum, unresolved = _distances(states, skipped)
    pairs = len(states) * (len(states) - 1) // 2
    claim = dict(certificate["claim"])
    stated = None if minimum is None else decimal_below(minimum)
    statement = STATEMENT.format(
        prompts=len(states),
        layer=certificate["layer"],
        minimum=stated or "(no pair)",
        named=len(skipped),
        open=len(unresolved),
    )
    seen = observed_again(certificate.get("observation"), states)
    if seen is not None and not same(certificate["observation"], seen.to_json()):
        raise Rejected("the prompts that the observed state can be of are not those that follow")
    expect_claim(claim, {
        "statement": statement, "pairs": pairs, "certified": pairs - len(skipped) - len(unresolved),
        "minimum_lower_bound": stated, "unique": None if seen is None else seen.unique(skipped),
        "closest": claim.get("closest"), "graphs": claim.get("graphs"),
    })  # fmt: skip
    _expect_closest(claim.get("closest"), states, minimum, skipped)
    if not same(certificate.get("unresolved"), unresolved):
        raise Rejected("the pairs left open are not those whose enclosures meet")


def _expect_closest(
    claimed: Any, states: list[Enclosure], minimum: Fraction | None, skipped: set[tuple[int, int]]
) -> None:
    """Raises Rejected unless the pair named has the least bound; where no pair has a bound, none may be named."""
    if minimum is None:
        if claimed is not None:
            raise Rejected("a closest pair is named, but no pair has a bound")
        return
    places = claimed if isinstance(claimed, list) and len(claimed) == 2 else [-1, -1]
    if any(type(place) is not int for place in places) or not 0 <= places[0] < places[1] < len(states):
        raise Rejected("the closest pair is none of two prompts")
    if (places[0], places[1]) in skipped or lower_bound(states[places[0]], states[places[1]]) != minimum:
        raise Rejected("the pair named as the closest has another bound than the least")


def _distances(states: list[Enclosure], skipped: set[tuple[int, int]]) -> tuple[Fraction | None, list[list[int]]]:
    """The least bound and the pairs without one: exactly for every pair, in a large set with float64 as a sieve."""
    if len(states) > ALL_EXACT:
        found = separation(states, skipped)
        return found.minimum, [list(pair) for pair in found.unresolved]
    minimum: Fraction | None = None
    unresolved: list[list[int]] = []
    for first in range(len(states)):
        for second in range(first + 1, len(states)):
            if (first, second) in skipped:
                continue
            bound = lower_bound(states[first], states[second])
            if not bound:
                unresolved.append([first, second])
            elif minimum is None or bound < minimum:
                minimum = bound
    return minimum, unresolved


def _expect_contained(step: Step, weights: Mapping[str, NDArray[Any]], sliced: Sliced) -> None:
    """Raises Rejected unless the enclosure of exact fixed point lies in the one that is stated.

    The engine is the one that made the enclosure (its bounds are proved in docs/separation.md), and starts where the
    file says; nothing else of the file enters.
    """
    bits, state = (step.bits, None) if step.start is None else (step.start.bits, step.start)
    try:
        found: Any = None
        for place, part in enumerate(step.segments):
            inputs: dict[str, Any] = {"tokens": np.array([step.tokens], dtype=np.int64)}
            inputs |= {name: weights[name] for name in inputs_of(part) if name != STATE}
            if state is not None:
                inputs[STATE] = state.fixed()
            arithmetic = FixedPoint(bits, sliced)
            found = arithmetic.fixed(evaluate(part, inputs, arithmetic))
            if place < len(step.segments) - 1:
                state = Enclosure.of(found, bits)
                bits = state.bits
    except Undecided as fault:
        raise Rejected(f"prompt {step.prompt}, step {step.place}: {fault}") from None
    if not step.end.holds(found, bits):
        raise Rejected(f"prompt {step.prompt}, step {step.place}: the states do not lie in the enclosure")


def _expect_in_arb(step: Step, parameters: Parameters) -> None:
    """Raises Rejected unless Arb's result lies in the enclosure."""
    bits = step.bits if step.start is None else step.start.bits
    state = None if step.start is None else as_balls(step.start)
    try:
        with ArbOverFloats(bits + GUARD) as balls:
            for part in step.segments:
                inputs = {"tokens": np.array([step.tokens], dtype=np.int64), **parameters.of(part)}
                state = evaluate(part, inputs if state is None else {**inputs, STATE: state}, balls)
            assert state is not None  # there is at least one segment
            inside = _within(state[0, -step.end.mantissa.shape[0] :], step.end)
    except Undecided as fault:
        raise Rejected(f"prompt {step.prompt}, step {step.place}: {fault}") from None
    if not inside:
        raise Rejected(f"prompt {step.prompt}, step {step.place}: the states do not lie in the enclosure")


def _within(states: Any, enclosure: Enclosure) -> bool:
    for row, radius in enumerate(enclosure.radius):
        size = flint.arb((radius, -enclosure.bits))
        for ball, middle in zip(states[row], enclosure.mantissa[row].tolist(), strict=True):
            if not abs(ball - flint.arb((middle, -enclosure.bits))) <= size:
                return False
    return True


def places(count: int, every: int) -> list[int]:
    """Which of `count` enclosures stand in a certificate: every so many, counted from the last one."""
    return [place for place in range(count) if (count - 1 - place) % every == 0]
