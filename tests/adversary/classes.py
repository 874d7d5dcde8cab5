"""Trials of what is said about parameters: the class of a map, bounds of every node, witnesses of kinks and jumps."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import Any

import flint
import numpy as np

from proofs import Verdict, check, prove_analytic
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.choices import Choices
from proofs.errors import Unsupported
from proofs.kernel.branches import ball_of, inputs_at
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate, live
from proofs.provers.analyticity import Obstructions
from proofs.provers.branches import with_witness
from proofs.regularity import ANALYTIC, CONSTANT, DISCONTINUOUS, POLYNOMIAL, UNPROVED, Regularity
from tests.adversary.formulas import formula
from tests.adversary.points import BITS, as_balls, drawn, every_value
from tests.adversary.points import inputs_at as at_point

CHOOSING = {
    "relu", "absolute", "clamp", "maximum", "minimum", "largest", "leaky_relu", "elu", "top_values", "top_indices",
    "greater", "at_most", "equal", "floor",
}  # fmt: skip
STEP, HALVINGS, ORDERS = 24, 40, 3  # a kink is found to 2^-42 and looked at from 2^-24 away, up to the third derivative
JUMP = 2.0**-10  # what a derivative jumps by, to be seen: far more than comes of not knowing the place exactly
SAMPLES, LOOKS_ANALYTIC = 25, Fraction(1, 2**40)
PARTS = (Fraction(1), *(Fraction(11, 2 ** (4 + k)) for k in range(19)))  # a kink may be next to an end
TOKENS = np.array([[1, 2]], dtype=np.int64)


def regular(seed: int) -> Counter[str]:
    """The class and the bounds that are proved of a formula."""
    graph = formula(random.Random(f"formula {seed}"))
    certificate = json.loads(json.dumps(prove_analytic(graph).to_json()))
    if check(certificate).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_lines(certificate, seed)


def chosen(seed: int) -> Counter[str]:
    """The same of a formula with choices, and the witness that is found of a kink or a jump."""
    graph = formula(random.Random(f"choices {seed}"), kinks=0.7)
    proof = prove_analytic(graph)
    if isinstance(proof, Obstructions):
        proof = with_witness(proof, seed=seed)
    certificate = json.loads(json.dumps(proof.to_json()))
    if check(certificate).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_lines(certificate, seed) + of_witness(certificate)


def of_lines(certificate: Mapping[str, Any], seed: object) -> Counter[str]:
    """What an accepted certificate says of every node, and the class of the output."""
    graph = Graph.from_json(certificate["graph"])
    rows = [certificate["facts"][place] for place in certificate["lines"]]
    found: Counter[str] = Counter()
    with Balls(BITS) as balls:
        for number, extreme in enumerate((0, 0, 0.5, 1, 1)):
            inputs = at_point(graph, f"{seed} {number}", balls, extreme) | {"tokens": TOKENS}
            for index, value in every_value(graph, inputs, balls):
                if rows[index][0] != str(UNPROVED) and value is not None:
                    found += bounded(rows[index], value)
    claimed = Regularity.parse(certificate["claim"]["regularity"])
    if claimed is not None and claimed < DISCONTINUOUS:
        found += smooth_as_claimed(graph, claimed, seed)
    return found


def bounded(row: Sequence[Any], value: Any) -> Counter[str]:
    """Every entry against the bounds of a line."""
    _, low, open_low, high, open_high, masked = row
    found: Counter[str] = Counter()
    if value.dtype == np.bool_:
        return found
    ends = [(None if end is None else ball_of(Fraction(end)) * sign, strict, sign)
            for end, strict, sign in ((low, open_low, 1), (high, open_high, -1))]  # fmt: skip
    for entry in value.ravel().tolist():
        ball = flint.arb(entry)
        if masked and ball == flint.arb("-inf"):
            continue
        if not ball.is_finite():
            found["bounds: undecided" if ball.is_nan() or ball.rad() > 0 else "contradicted"] += 1
            continue
        for end, strict, sign in ends:
            if end is not None:
                found["bounds"] += 1
                inside = sign * ball > end if strict else sign * ball >= end
                outside = sign * ball <= end if strict else sign * ball < end
                found["contradicted"] += bool(outside)
                found["bounds: undecided"] += not inside and not outside
    return found


class Segment:
    """The states along a segment of parameters, exactly placed."""

    def __init__(self, graph: Graph, seed: object) -> None:
        self.graph = graph
        self.ends = {
            name: [drawn(f"{seed} {end}", name, kind.size) for end in range(2)] for name, kind in graph.parameters()
        }

    def inputs(self, place: Fraction, balls: Balls) -> dict[str, Any]:
        """The leaves at a place between 0 and 1, or beyond."""
        found: dict[str, Any] = {"tokens": TOKENS}
        for name, kind in self.graph.parameters():
            first, second = self.ends[name]
            here = [a + place * (b - a) for a, b in zip(first, second, strict=True)]
            found[name] = as_balls(here, kind.shape, balls)
        return found

    def value(self, place: Fraction) -> Any:
        """The states."""
        with Balls(BITS) as balls:
            return evaluate(self.graph, self.inputs(place, balls), balls).ravel()

    def choices(self, place: Fraction) -> bytes:
        """Every choice that is made there."""
        with Choices(BITS) as balls:
            evaluate(self.graph, self.inputs(place, balls), balls)
            return b"|".join(made.tobytes() for made in balls.made)

    def kink(self) -> Fraction | None:
        """A place next to which a choice changes; None where none does between the places that are looked at."""
        low, first = Fraction(0), self.choices(Fraction(0))
        for number in range(1, 6):
            high = Fraction(number, 5)
            last = self.choices(high)
            if last != first:
                for _ in range(HALVINGS):
                    middle = (low + high) / 2
                    if self.choices(middle) == first:
                        low = middle
                    else:
                        high = middle
                return low
            low = high
        return None


def smooth_as_claimed(graph: Graph, claimed: Regularity, seed: object) -> Counter[str]:
    """A constant does not move, differences of a polynomial vanish, and no derivative up to an order jumps."""
    found = Counter({f"class {claimed}": 1})
    segment = Segment(graph, seed)
    try:
        if claimed <= POLYNOMIAL:
            degree = 0 if claimed == CONSTANT else degree_of(graph)
            if degree is not None:
                gaps = _differences([segment.value(Fraction(i)) for i in range(degree + 2)])
                found["contradicted"] += any(not gap.contains(0) for gap in gaps)
                return found
        if CHOOSING.isdisjoint(graph.nodes[i].operation for i in live(graph)):
            return found
        place = segment.kink()
        if place is not None:
            found["looked at beside a kink"] += 1
            found["contradicted"] += _jumps(segment, place, ORDERS if claimed <= ANALYTIC else claimed.smoothness)
    except (Undecided, Unsupported):
        found["class: undecided"] += 1
    return found


def _jumps(segment: Segment, place: Fraction, order: int) -> bool:
    """Whether a derivative up to an order is another one on the other side, as seen from two distances."""
    seen: list[list[Any]] = []
    for step in (Fraction(1, 2**STEP), Fraction(1, 2 ** (STEP + 2))):
        sides = [[segment.value(place + sign * step * i) for i in range(1, order + 2)] for sign in (1, -1)]
        row: list[Any] = []
        for k in range(order + 1):
            right, left = (_differences(side[: k + 1]) for side in sides)
            with Balls(BITS):
                scale = ball_of(Fraction(1) / step**k)
                row.append([(a - (-1) ** k * b) * scale for a, b in zip(right, left, strict=True)])
        seen.append(row)
    with Balls(BITS):
        pairs = [pair for rows in zip(*seen, strict=True) for pair in zip(*rows, strict=True)]
        return any(bool(abs(a - b) * 8 < abs(a)) and bool(abs(a) > JUMP) for a, b in pairs)


def _differences(values: Sequence[Any]) -> list[Any]:
    """The highest difference of equally spaced values."""
    with Balls(BITS):
        rows = list(values)
        while len(rows) > 1:
            rows = [b - a for a, b in itertools.pairwise(rows)]
        return list(rows[0])


def degree_of(graph: Graph) -> int | None:
    """The largest degree that a polynomial can have, by its operations; None where it is too large to look at."""
    degrees: dict[int, int] = {}
    for index in live(graph):
        node = graph.nodes[index]
        below = [degrees[i] for i in node.arguments]
        if node.operation in ("multiply", "matmul"):
            degrees[index] = sum(below)
        elif node.operation == "power":
            degrees[index] = below[0] * int(str(node.attributes["exponent"]))
        else:
            degrees[index] = max(below, default=int(node.operation == "parameter"))
        if degrees[index] > 12:
            return None
    return degrees[graph.output]


def of_witness(certificate: Mapping[str, Any]) -> Counter[str]:
    """A witness on the graph itself: there is a jump of that size, or the segment does not look analytic."""
    witness = certificate["witness"]
    if witness is None:
        return Counter()
    graph = Graph.from_json(certificate["graph"])
    low, high = (Fraction(end) for end in witness["segment"])

    def value(place: Fraction) -> Any:
        with Balls(BITS) as balls:
            inputs = inputs_at(
                graph, tuple(witness["seeds"]), ball_of(place), tuple(witness["tokens"]), witness["largest"]
            )
            return evaluate(graph, inputs, balls).ravel()

    claim = str(witness["claim"])
    found = Counter({claim: 1})
    try:
        if claim == "not analytic":
            sides = ((low, high - low), (high, low - high))
            found["contradicted"] += all(
                _looks_analytic(value, end, way * part) for end, way in sides for part in PARTS
            )
        else:
            size = _jump(value, low, high)
            found["contradicted"] += size < float(witness["separation"]) / 2
    except (Undecided, Unsupported):
        found[f"{claim}: undecided"] += 1
    return found


def _looks_analytic(value: Callable[[Fraction], Any], low: Fraction, width: Fraction) -> bool:
    """Whether the highest difference is as small as only functions that are analytic far around have it.

    That of n equally spaced values falls with the n-th power of their distance then, and with a kink of order k between
    them as the k-th at most; a power between both is asked for.
    """
    values = [value(low + width * Fraction(i, SAMPLES - 1)) for i in range(SAMPLES)]
    with Balls(BITS):
        gaps = _differences(values)
        most = [max((abs(v[i]) for v in values), key=lambda b: float(b.mid())) for i in range(len(gaps))]
        allowed = ball_of(LOOKS_ANALYTIC * width**8 * comb(SAMPLES - 1, (SAMPLES - 1) // 2))
        return all(bool(abs(gap) <= allowed * size) for gap, size in zip(gaps, most, strict=True))


def _jump(value: Any, low: Fraction, high: Fraction) -> float:
    """What is left of the distance between two ends as they approach each other, always where most of it is."""
    first, last = value(low), value(high)
    for _ in range(60):
        middle = (low + high) / 2
        between = value(middle)
        if _distance(first, between) > _distance(between, last):
            high, last = middle, between
        else:
            low, first = middle, between
    return _distance(first, last)


def _distance(first: Any, second: Any) -> float:
    with Balls(BITS):
        return max(float(abs(a - b).mid()) for a, b in zip(first, second, strict=True))
