"""Looks for a certified witness that a network is not analytic, or not continuous (see `proofs.kernel.branches`)."""

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Discrete, Undecided
from proofs.errors import InvalidInput, Unsupported
from proofs.kernel.branches import (
    BITS,
    DRAWN,
    Witness,
    ball_of,
    fixed_branches_are_analytic,
    inputs_at,
    run,
    shown,
    without_shifts,
)
from proofs.network.graph import Graph
from proofs.operations.interpreter import live
from proofs.provers.analyticity import Obstructions
from proofs.regularity import DISCONTINUOUS, UNPROVED

LARGEST_SUBJECT = 400_000  # parameters; above, a witness is searched in a smaller copy of the architecture
LARGEST_FOR_JUMPS = 2**18  # parameters; a jump takes a hundred evaluations, a kink four
ATTEMPTS = 6
LARGER = 4  # the second half of the attempts takes parameters up to 16
HALVINGS = (20, 14, 14)  # after each batch the segment may be short enough to show the jump


def find_witness(graph: Graph, *, seed: int = 0) -> Witness | None:
    """A witness against continuity where one is found, else against analyticity, else None."""
    graph = without_shifts(graph)
    size = sum(type.size for _, type in graph.parameters())
    deciding = {graph.nodes[i].operation for i in live(graph)}
    jumps = deciding & {"top_indices", "greater", "at_most", "equal", "floor"} if size <= LARGEST_FOR_JUMPS else set()
    kinks = fixed_branches_are_analytic(graph)
    if size > LARGEST_SUBJECT or not (jumps or kinks):
        return None
    weaker: Witness | None = None
    for attempt in range(ATTEMPTS):
        seeds = (seed + 2 * attempt, seed + 2 * attempt + 1)
        try:
            found = _jump(graph, seeds) if jumps else None
            if found is not None:
                return found
            largest = 0 if attempt < ATTEMPTS // 2 else LARGER
            weaker = weaker or (_not_analytic(graph, seeds, largest) if kinks else None)
            if weaker is not None and not jumps:
                return weaker
        except (Undecided, Unsupported, InvalidInput, ArithmeticError):
            continue
    return weaker


def _tokens(graph: Graph) -> tuple[int, ...]:
    for node in graph.nodes:
        if node.operation == "tokens":
            vocabulary = node.attributes["vocabulary"]
            most = vocabulary if isinstance(vocabulary, int) else 1
            return tuple(i % most for i in range(1, graph.length + 1))
    return ()


def _not_analytic(graph: Graph, seeds: tuple[int, int], largest: int) -> Witness | None:
    tokens = _tokens(graph)
    witness = Witness("not analytic", seeds, (Fraction(0), Fraction(1)), tokens, -1, "0", largest=largest)
    separation = shown(graph, witness)
    return None if separation is None else dataclasses.replace(witness, separation=separation)


def _jump(graph: Graph, seeds: tuple[int, int]) -> Witness | None:
    """Halves the segment until both ends differ in one choice alone, then compares both sides."""
    tokens = _tokens(graph)
    low, high = Fraction(0), Fraction(1)
    first, last = (_choices(graph, seeds, end, tokens) for end in (low, high))
    if _same(first, last):
        return None
    for count in HALVINGS:
        for _ in range(count):
            middle = (low + high) / 2
            chosen = _choices(graph, seeds, middle, tokens)
            if _same(first, chosen):
                low = middle
            else:
                high, last = middle, chosen
        choice = next(i for i, (a, b) in enumerate(zip(first, last, strict=True)) if not np.array_equal(a, b))
        witness = Witness("discontinuous", seeds, (low, high), tokens, choice, "0")
        try:
            separation = shown(graph, witness)
        except Undecided:
            separation = None
        if separation is not None:
            return dataclasses.replace(witness, separation=separation)
    return None


def _same(first: list[Discrete], second: list[Discrete]) -> bool:
    """Equal as sets of chosen places: two chosen entries that swap do not make a jump."""
    return all(
        np.array_equal(a, b) if a.dtype == np.bool_ else np.array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
        for a, b in zip(first, second, strict=True)
    )


def _choices(graph: Graph, seeds: tuple[int, int], place: Fraction, tokens: tuple[int, ...]) -> list[Discrete]:
    with Balls(BITS):
        inputs = inputs_at(graph, seeds, ball_of(place), tokens)
    return run(graph, inputs, BITS, {})[1]


def written(witness: Witness) -> dict[str, Any]:
    """A witness as a JSON object."""
    return {
        "claim": witness.claim,
        "seeds": list(witness.seeds),
        "segment": [str(end) for end in witness.segment],
        "tokens": list(witness.tokens),
        "choice": witness.choice,
        "separation": witness.separation,
        "bits": witness.bits,
        "largest": witness.largest,
        "parameters": DRAWN,
    }


def with_witness(found: Obstructions, *, seed: int = 0) -> Obstructions:
    """The same obstructions with a certified witness, if one is found in the graph itself."""
    witness = find_witness(found.graph, seed=seed)
    if witness is None:
        return found
    jump = witness.claim == "discontinuous"
    regularity = DISCONTINUOUS if jump and found.regularity >= UNPROVED else found.regularity
    data = {**written(witness), "subject": "this graph"}
    return Obstructions(found.graph, found.facts, found.conditions, found.obstructions, regularity, data)
