"""Witnesses that a network is not analytic, or not continuous: re-evaluated in balls.

Comparisons, maxima and top-k choose a *branch*: with every choice held fixed, the network is an analytic function on
the whole parameter space (checked: `fixed_branches_are_analytic`).

Not analytic. Let every choice be decided strictly at one point, so that the network equals the branch F near it. If
the network were analytic, it would equal F everywhere, since the parameter space is connected. So one more point,
at which a ball shows it to differ from F, is a proof.

Not continuous. On a short segment of parameters let exactly one choice be undecided, between two neighbours, and
everything after it be decided either way. Then the network takes its values in two enclosures, and both occur, one at
each end; if they are disjoint it jumps in between. (This needs no analyticity.)

Points are exact dyadic numbers drawn from a seed, so that a witness is a few integers that anyone can re-evaluate.
"""

import dataclasses
import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Discrete, Undecided
from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.arithmetic.choices import Ambiguous, Choices
from proofs.errors import InvalidInput, Unsupported
from proofs.kernel.lemmas.instance import Instance, Line, hull
from proofs.kernel.lemmas.rows import scores
from proofs.kernel.lines import class_of
from proofs.network.graph import Graph
from proofs.network.rational import decimal, rational
from proofs.operations.interpreter import evaluate
from proofs.regularity import ANALYTIC, CONSTANT, DISCONTINUOUS

BITS = 128


DRAWN = "entries k / 2^16 with |k| <= 2^16, drawn from the seed and the parameter's name, times 2^largest"


@dataclass(frozen=True, slots=True)
class Witness:
    """Re-evaluable evidence that a graph is not analytic, or jumps.

    Attributes:
        claim: `not analytic` or `discontinuous`.
        seeds: the two end points of the segment.
        segment: the part of it, as two dyadic numbers in [0, 1]: the points compared, or the jump between them.
        tokens: the prompt.
        choice: number of the choice that is undecided at a jump, else -1.
        separation: a lower bound on the distance that was shown, largest coordinate.
        largest: exponent of two of the largest parameter; a kink far from 0 needs larger ones.
    """

    claim: str
    seeds: tuple[int, int]
    segment: tuple[Fraction, Fraction]
    tokens: tuple[int, ...]
    choice: int
    separation: str
    bits: int = BITS
    largest: int = 0


@functools.lru_cache(maxsize=4096)
def _entries(name: str, seed: int, count: int) -> tuple[int, ...]:
    source = random.Random(f"{seed}:{name}")
    return tuple(source.getrandbits(17) - 2**16 for _ in range(count))


def inputs_at(
    graph: Graph, seeds: tuple[int, int], place: Any, tokens: tuple[int, ...], largest: int = 0
) -> dict[str, Any]:
    """The leaves at first + place (second - first); `place` is a ball."""
    inputs: dict[str, Any] = {"tokens": np.array([tokens], dtype=np.int64)}
    for name, type in graph.parameters():
        first, difference = _ends(name, seeds, type.size, largest)
        inputs[name] = (first + difference * place).reshape(type.shape)
    return inputs


@functools.lru_cache(maxsize=128)
def _ends(name: str, seeds: tuple[int, int], count: int, largest: int) -> tuple[Any, Any]:
    """One end of the segment and the difference to the other: exact, whatever the precision."""
    low, high = (_entries(name, seed, count) for seed in seeds)
    ends = [np.empty(count, dtype=object) for _ in seeds]
    ends[0][:] = [flint.arb((k, largest - 16)) for k in low]
    ends[1][:] = [flint.arb((k - j, largest - 16)) for j, k in zip(low, high, strict=True)]
    return ends[0], ends[1]


def ball_of(value: Fraction) -> Any:
    """A rational as a ball of the precision in force."""
    return flint.arb(flint.fmpq(value.numerator, value.denominator))


def fixed_branches_are_analytic(graph: Graph) -> bool:
    """Whether the network with every choice held fixed is analytic on the whole parameter space."""
    found = class_of(graph, _fixed)
    return found is not None and found <= ANALYTIC


def _fixed(at: Instance) -> Line | None:
    """The line of a deciding operation when its choices are constants; None for every other one."""
    operation, worst = at.node.operation, at.worst
    if worst == CONSTANT or any(line.mask is not None for line in at.lines):
        return None  # with the choices before it held fixed, it has one value
    decided = CONSTANT if worst < DISCONTINUOUS else worst
    first = at.lines[0].bounds if at.lines else EVERYTHING
    if operation == "clamp":
        ends = [end for end in (at.node.attributes.get(name) for name in ("low", "high")) if isinstance(end, Fraction)]
        return Line(worst, hull((at.lines[0], *(Line(CONSTANT, Interval.point(end)) for end in ends))))
    if operation in ("relu", "absolute", "leaky_relu"):
        return Line(worst)  # x, -x, a x or 0: nothing is known of its sign any more
    if operation == "elu":
        return Line(max(worst, ANALYTIC))
    if operation in ("maximum", "minimum"):
        return Line(worst, hull(at.lines))
    if operation in ("largest", "top_values"):
        return Line(worst, first)
    if operation == "top_indices":
        return Line(decided, Interval(Fraction(0), False, Fraction(at.nodes[0].type.shape[at.get("axis", int)] - 1)))
    if operation in ("greater", "at_most", "equal", "floor"):
        return Line(decided)
    return None


def without_shifts(graph: Graph) -> Graph:
    """The same function: softmax(x - max x) = softmax(x), so that the maximum is no choice that matters."""
    nodes = [
        dataclasses.replace(node, arguments=(scores(graph, node),)) if node.operation == "softmax" else node
        for node in graph.nodes
    ]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def run(graph: Graph, inputs: dict[str, Any], bits: int, script: Mapping[int, Discrete]) -> tuple[Any, list[Discrete]]:
    """The states at a point, and every choice that was made; `script` decides some of them by number."""
    with Choices(bits, script) as arithmetic:
        return evaluate(graph, inputs, arithmetic), arithmetic.made


def shown(graph: Graph, witness: Witness) -> str | None:
    """The separation that the witness shows, as a decimal below it, or None where it shows none."""
    low, high = witness.segment
    with Balls(witness.bits):
        places = (ball_of(low), ball_of(high), ball_of(low).union(ball_of(high)))
        *ends, between = (inputs_at(graph, witness.seeds, at, witness.tokens, witness.largest) for at in places)
    first = run(graph, ends[0], witness.bits, {})[1]
    value, last = run(graph, ends[1], witness.bits, {})
    if witness.claim == "not analytic":
        branch, _ = run(graph, ends[1], witness.bits, dict(enumerate(first)))
        return _gap(value, branch, witness.bits)
    if witness.claim != "discontinuous" or not 0 <= witness.choice < len(first):
        return None
    number = witness.choice
    with Ambiguous(witness.bits, number, first[number], last[number]) as judge:
        evaluate(graph, between, judge)
    if not judge.between_two:
        return None
    # All other choices are decided strictly over the whole segment (else `Undecided`), so at its ends as well.
    one, other = (run(graph, between, witness.bits, {number: made[number]})[0] for made in (first, last))
    return _gap(one, other, witness.bits)


def _gap(first: Any, second: Any, bits: int) -> str | None:
    """The largest lower bound on |first - second| over the coordinates, rounded down, if it is positive."""
    with Balls(bits):
        lower = [abs(a - b).abs_lower() for a, b in zip(np.ravel(first), np.ravel(second), strict=True)]
        best = max(lower, key=lambda b: float(b.mid()))
        if not best > 0:
            return None
        below = Decimal(float(np.nextafter(float(best.lower()), 0)))
        return f"{Context(prec=6, rounding=ROUND_DOWN).plus(below):f}"


def recheck(graph: Graph, data: Mapping[str, Any]) -> bool:
    """Whether a stored witness shows what it claims, re-evaluated in balls.

    Raises:
        InvalidInput: fields are missing or of the wrong type.
    """
    witness, claimed = _stored(data)
    low, high = witness.segment
    graph = without_shifts(graph)
    if not 0 <= low < high <= 1 or (witness.claim == "not analytic" and not fixed_branches_are_analytic(graph)):
        return False
    sizes = {n.attributes.get("vocabulary") for n in graph.nodes if n.operation == "tokens"}
    if any(not isinstance(size, int) or not all(0 <= token < size for token in witness.tokens) for size in sizes):
        return False
    try:
        separation = shown(graph, witness)
    except (Undecided, Unsupported, InvalidInput, ArithmeticError):
        return False
    return separation is not None and 0 < claimed <= Fraction(separation)


def _stored(data: Mapping[str, Any]) -> tuple[Witness, Fraction]:
    """The witness in a JSON object, and the separation that it claims; nothing is taken for what it is not."""
    try:
        seeds, tokens = ([_of(number, int) for number in _of(data[name], list)] for name in ("seeds", "tokens"))
        low, high = (rational(end) for end in _of(data["segment"], list))
        choice, bits, largest = (_of(data[name], int) for name in ("choice", "bits", "largest"))
        witness = Witness(
            _of(data["claim"], str), (seeds[0], seeds[1]), (low, high), tuple(tokens), choice,
            _of(data["separation"], str), bits, largest,
        )  # fmt: skip
        if len(seeds) != 2 or not 64 <= bits <= 4096 or not 0 <= largest <= 64 or data["parameters"] != DRAWN:
            raise ValueError
        return witness, decimal(witness.separation)
    except (LookupError, TypeError, ValueError):
        raise InvalidInput(
            "Expected a complete witness, but fields are missing or wrong; the file is damaged."
        ) from None


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value
