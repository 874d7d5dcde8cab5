"""`certify_separation`: rigorous lower bounds on the distances between the states of given prompts, for given weights.

States are enclosed segment by segment in exact fixed point (`proofs.arithmetic.fixed_point`); the first prompt shows
how many bits are lost on the way, and bits are added until every pair is decided or the limit is reached.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.arguments import called, of_kind, several, shown, token_ids, whole
from proofs.arithmetic.fixed_point import LARGEST
from proofs.enclosures.distances import Separation, decimal_below, separation
from proofs.enclosures.matching import Matches, observe
from proofs.enclosures.trail import Run, Trail
from proofs.errors import InvalidInput
from proofs.evidence import SCHEMA
from proofs.kernel.result import digest
from proofs.kernel.separation import KIND, STATEMENT, places, verdict_of
from proofs.network.graph import Graph
from proofs.network.weights import checked_weights, weights_digest
from proofs.structure.equal_prompts import Identity, identities
from proofs.verdict import Verdict

TRAIL_BYTES = 19 * 10**6  # of all enclosures between blocks, as written; if need be only every so many are
ENOUGH = 2.0**-12  # a final radius this small beside the closest distance costs no part of the bound that matters
STEP = 64  # bits that are added at least where a pair stays open
FINEST = 200  # bits after the point; states that are not told apart by then are left open


@dataclass(frozen=True, slots=True, eq=False)
class SeparationCertificate:
    """Bounds for all pairs of a set of prompts, with what a checker needs to confirm them step by step.

    `untold`: whether there was no room to show of some pairs that they are equal; if they are, they stay open.
    """

    graphs: tuple[Graph, ...]
    trails: tuple[Trail, ...]
    weights: Mapping[str, Any]  # digest and number of parameters, as in proofs.network.weights
    found: Separation
    identical: tuple[Identity, ...]
    observation: Matches | None = None
    untold: bool = False

    @property
    def bits(self) -> int:
        """The largest number of bits that was worked with."""
        return max(trail.bits for trail in self.trails)

    @property
    def pairs(self) -> int:
        """How many pairs of prompts there are."""
        return math.comb(len(self.trails), 2)

    @property
    def certified(self) -> int:
        """How many of them have a positive lower bound."""
        return self.pairs - len(self.identical) - len(self.found.unresolved)

    @property
    def verdict(self) -> Verdict:
        """`collision` where a pair is equal, `undecided` where one is open, else `separated`."""
        return verdict_of(self.identical, self.found.unresolved)

    def to_json(self) -> dict[str, Any]:
        """The certificate as a JSON object of kind `separation`."""
        graphs = [graph.to_json() for graph in self.graphs]
        minimum = None if self.found.minimum is None else decimal_below(self.found.minimum)
        every, prompts = self._prompts()
        equal = {(pair.first, pair.second) for pair in self.identical}
        body = {
            "schema": SCHEMA,
            "kind": KIND,
            "layer": self.graphs[0].layer,
            "bits": self.bits,
            "weights": dict(self.weights),
            "graphs": graphs,
            "every": every,
            "prompts": prompts,
            "identical": [identity.to_json() for identity in self.identical],
            "observation": None if self.observation is None else self.observation.to_json(),
            "unresolved": [list(pair) for pair in self.found.unresolved],
            "claim": {
                "statement": STATEMENT.format(
                    prompts=len(self.trails), layer=self.graphs[0].layer, minimum=minimum or "(no pair)",
                    named=len(self.identical), open=len(self.found.unresolved),
                ),
                "pairs": self.pairs,
                "certified": self.certified,
                "minimum_lower_bound": minimum,
                "closest": None if self.found.closest is None else list(self.found.closest),
                "graphs": [digest(graph) for graph in graphs],
                "unique": None if self.observation is None else self.observation.unique(equal),
            },
        }  # fmt: skip
        return {**body, "digest": digest(body)}

    def _prompts(self) -> tuple[int, list[dict[str, Any]]]:
        """The prompts with every so many of their enclosures, as few left out as the budget allows."""
        written = [[step.to_json() for step in trail.steps] for trail in self.trails]
        every, longest = 1, max(len(steps) for steps in written)
        while every < longest and _size(written, every) > TRAIL_BYTES:
            every += 1
        kept = [[steps[place] for place in places(len(steps), every)] for steps in written]
        rows = [
            {"token_ids": list(trail.tokens), "bits": trail.bits, "enclosures": steps}
            for trail, steps in zip(self.trails, kept, strict=True)
        ]
        return every, rows


def _size(written: Sequence[Sequence[Mapping[str, Any]]], every: int) -> int:
    """The bytes of all enclosures but the last ones."""
    return sum(len(steps[place]["mantissa"]) for steps in written for place in places(len(steps), every)[:-1])


def certify_separation(
    graph: Graph | Sequence[Graph],
    weights: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    *,
    bits: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    observed: tuple[Sequence[float], Fraction] | None = None,
    workers: int = 1,
    kept: Mapping[tuple[int, ...], Trail] | None = None,
    keep: Callable[[Trail], None] | None = None,
) -> SeparationCertificate:
    """Lower bounds on the distances between the last states of all pairs of prompts.

    Args:
        graph: the captured network, one for every length of a prompt, all of one layer.
        weights: arrays of floats by parameter name (float16, float32 or float64), shape as in the graph.
        prompts: token ids; prompts that are equal, or equal but for tokens with equal rows, are named as identical.
        bits: where to begin; None lets the first prompt decide, and adds bits while a pair is open.
        progress: called with (prompts done, all).
        observed: a state, and how far (L2) it may be from the true one of its prompt; the certificate then says which
            prompts it can be of.
        workers: processes that share the prompts, where the system can fork.
        kept: trails of an interrupted run, by prompt; they are not made again.
        keep: called with each new trail.

    Raises:
        InvalidInput: a weight is missing, not finite or of another shape; a prompt fits no graph.
        Unsupported: an operation that has no enclosure.
    """
    graphs = several("graphs", graph)
    for one in graphs:
        of_kind("captured graphs", one, Graph, "capture one with numerics.capture_graph for every length")
    of_kind("weights by name", weights, Mapping, "give the arrays of the model that was captured")
    bits = None if bits is None else whole("bits", bits, least=1, most=LARGEST, example=64)
    workers, progress, keep = whole("workers", workers, least=1), called("progress", progress), called("keep", keep)
    known: dict[tuple[int, ...], Trail] = dict(
        of_kind("trails by prompt", {} if kept is None else kept, Mapping, "leave it away")
    )
    for trail in known.values():
        of_kind("trails by prompt", trail, Trail, "leave it away")
    state = None if observed is None else _observed(observed)
    by_length = {one.length: one for one in graphs}
    rows = [token_ids(f"prompt {number}", prompt) for number, prompt in enumerate(several("prompts", prompts))]
    _check_prompts(by_length, rows)
    arrays = checked_weights(graphs, weights)
    run = Run(by_length, arrays, bits, known, keep or (lambda trail: None), workers)
    equal, untold = identities(by_length, arrays, rows)
    skipped = {(identity.first, identity.second) for identity in equal}
    wanted: dict[tuple[int, ...], int] = {}
    trails: list[Trail] = []
    while True:
        run.enclose({row: wanted.get(row, 0) for row in rows}, progress or (lambda done, of: None))
        trails = [run.trails[row] for row in rows]
        found = separation([trail.state for trail in trails], skipped)
        wanted = {} if bits is not None else _more_bits(trails, found)
        if not wanted:
            break
    return SeparationCertificate(
        tuple(by_length[n] for n in sorted({len(row) for row in rows})),
        tuple(trails), weights_digest(arrays), found, equal,
        None if state is None else observe([trail.state for trail in trails], *state), untold,
    )  # fmt: skip


def _observed(given: Any) -> tuple[tuple[float, ...], Fraction]:
    """A state and how far it may be off, of whatever numbers.

    Raises:
        InvalidInput: no such pair.
    """
    try:
        values, noise = given
        return tuple(float(value) for value in values), Fraction(noise)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInput(
            f"Expected the numbers of a state and how far it may be off, but got {shown(given)}; give both."
        ) from None


def _more_bits(trails: Sequence[Trail], found: Separation) -> dict[tuple[int, ...], int]:
    """The prompts of pairs that more bits may decide, or for which the enclosure takes a visible part of the bound."""
    pairs = list(found.unresolved)
    if found.closest is not None and found.minimum is not None:
        first, second = (trails[i].state for i in found.closest)
        width = first.mantissa.shape[1]
        radius = sum(state.radius[0] / 2.0**state.bits for state in (first, second))
        if radius * math.sqrt(width) > ENOUGH * found.minimum:
            pairs.append(found.closest)
    wanted: dict[tuple[int, ...], int] = {}
    for place in {place for pair in pairs for place in pair}:
        trail = trails[place]
        reached = trail.state.bits - trail.state.radius[0].bit_length()
        if trail.bits < LARGEST and reached < FINEST:
            wanted[trail.tokens] = min(LARGEST, trail.bits + max(STEP, trail.bits // 4))
    return wanted


def _check_prompts(graphs: Mapping[int, Graph], rows: Sequence[tuple[int, ...]]) -> None:
    if len(rows) < 2:
        raise InvalidInput("Expected at least two prompts, but got fewer; a distance needs a pair.")
    if len({graph.layer for graph in graphs.values()}) != 1:
        raise InvalidInput("Expected graphs of one layer, but got several; capture all at the same layer.")
    for number, row in enumerate(rows):
        graph = graphs.get(len(row))
        if graph is None:
            lengths = ", ".join(map(str, sorted(graphs)))
            raise InvalidInput(
                f"Expected prompts of {lengths} tokens, as captured, but prompt {number} has {len(row)}; "
                "capture that length."
            )
        vocabulary = next(int(str(n.attributes["vocabulary"])) for n in graph.nodes if n.operation == "tokens")
        if not all(0 <= token < vocabulary for token in row):
            raise InvalidInput(
                f"Expected token ids from 0 to {vocabulary - 1}, but prompt {number} has others; correct it."
            )
