"""The gate lemma at two points: the second derivatives of the loss where all of it can be read off exactly.

Let the logits be z = U (beta + gamma x^), x^ the state after the final norm (RMS norm: no beta), and let U, beta and
gamma vanish. Then z = 0 to first order, so the gradient of the loss F(z) is 0 and its second derivatives are those of
w . z, w = dF/dz(0): w[v] between U[v, i] and beta[i], w[v] x^[i] between U[v, i] and gamma[i], and no others. That is
looked for, entry by entry. At zero x^ is 0; at a *base point*, where all embedding rows are one row x
and all else is 0, it is x normalised. For both the determinant is a product over the coordinates i in which
|w|^2 (1 + x^[i]^2) enters, or |w|^2 x^[i]^2 for an RMS norm.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from proofs.arithmetic.surds import Surd, Surds
from proofs.errors import InvalidInput
from proofs.kernel.depth import origins
from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import live
from proofs.recomputed.loss import Sample, mean, of_loss

Entries = Mapping[tuple[int, int], Surd]
POLYNOMIAL = ("add", "subtract", "negate", "multiply", "power", "sum", "mean", "reshape", "expand")


@dataclass(frozen=True, slots=True)
class Gate:
    """The second derivatives at one point.

    Attributes:
        norm: `LayerNorm` or `RMSNorm`, the final one.
        squares: x^[i]^2 for every coordinate.
    """

    norm: str
    squares: tuple[Fraction, ...]

    @property
    def strengths(self) -> tuple[Fraction, ...]:
        """What |w|^2 is multiplied by, for every coordinate: the squares of the eigenvalues other than 0."""
        return tuple((self.norm == "LayerNorm") + square for square in self.squares)


def embedding_of(graph: Graph) -> Node:
    """The one table that the tokens select from.

    Raises:
        InvalidInput: no parameter is read by the tokens.
    """
    for node in map(graph.nodes.__getitem__, live(graph)):
        if node.operation == "take" and graph.nodes[node.arguments[1]].operation == "tokens":
            return graph.nodes[node.arguments[0]]
    raise InvalidInput(
        "Expected a network with an embedding, but none is read by the tokens; capture a language model."
    )


@dataclass(frozen=True, slots=True)
class At:
    """What is known exactly at one point of one batch: w, the second derivatives, and their form, if it is a gate's."""

    w: tuple[Fraction, ...]
    second: Any
    gate: Gate | None
    row: Sequence[Fraction] | None

    @property
    def square(self) -> Fraction:
        """|w|^2."""
        return sum((x * x for x in self.w), Fraction(0))


def gates(graph: Graph, samples: Sequence[Sample], tokens: int, row: Sequence[Fraction] | None) -> dict[str, At]:
    """At zero, or at the base point with this embedding row: one sample, and the batch."""
    table = embedding_of(graph).attributes.get("name")

    def value(name: str, place: tuple[int, ...]) -> Fraction:
        return row[place[-1]] if row is not None and name == table else Fraction(0)

    each = [of_loss(graph, sample, Surds(), value) for sample in samples]
    found: dict[str, At] = {}
    for name, batch in (("one sample", samples[:1]), ("batch", samples)):
        gradient, second = mean(each[: len(batch)], Surds())
        share = Fraction(1, len(batch))
        w = tuple(Fraction(1, tokens) - share * sum((s.target[v] for s in batch), Fraction(0)) for v in range(tokens))
        gate = gate_of(graph, gradient, second, w)
        lemma = gate is not None and (row is not None or not any(gate.squares))  # at zero x^ is 0
        found[name] = At(w, second, gate if lemma else None, row)
    return found


def gate_of(graph: Graph, gradient: Sequence[Any], second: Any, w: Sequence[Fraction]) -> Gate | None:
    """The form of the second derivatives, if they are those of the gate lemma entry by entry, and the gradient is 0."""
    known = all(entry.terms is not None and not entry.masked for row in second for entry in row)
    if not known or any(entry.zero is not True for entry in gradient):
        return None
    width = embedding_of(graph).type.shape[-1]
    found = {(i, j): entry for i, row in enumerate(second) for j, entry in enumerate(row) if entry.terms}
    if not any(w):
        return None
    if not found:
        return Gate("RMSNorm", (Fraction(0),) * width)
    touched = {place for pair in found for place in pair}
    vectors, tables = (_starts(graph, shape, touched) for shape in ((width,), (len(w), width)))
    if len(vectors) > 2 or len(tables) > 1:  # each of them would enter as U, beta or gamma
        return None
    for u, beta, gamma in product(tables, [*vectors, None], [None, *vectors]):
        gate = _matched(found, u, beta, gamma, w, width) if beta != gamma else None
        if gate is not None:
            return gate
    return None


def reads_out(graph: Graph) -> bool:
    """Whether the logits are U (beta + gamma x^), and U, beta and gamma are read nowhere else."""
    product = _moved(graph, graph.output, ("reshape", "slice"))
    if product.operation != "matmul":
        return False
    state, table = (_moved(graph, index, ("reshape", "slice", "permute")) for index in product.arguments)
    read = [graph.nodes[index] for index in state.arguments]
    vectors = read[1:] if state.operation == "layer_norm" else [node for node in read if node.operation == "parameter"]
    if state.operation not in ("layer_norm", "multiply") or not vectors:
        return False
    uses = Counter(argument for index in live(graph) for argument in graph.nodes[index].arguments)
    names = Counter(graph.nodes[index].attributes.get("name") for index in live(graph))
    own = {id(node): axes for axes, nodes in ((2, [table]), (1, vectors)) for node in nodes}
    places = [index for index in live(graph) if id(graph.nodes[index]) in own]
    return len(places) == len(own) == 1 + len(vectors) and all(
        graph.nodes[index].operation == "parameter"
        and len(graph.nodes[index].type.shape) == own[id(graph.nodes[index])]
        and uses[index] == names[graph.nodes[index].attributes.get("name")] == 1
        for index in places
    )


def norms_rows(graph: Graph) -> bool:
    """Whether the norm that is read out is of the tokens' rows where all else is 0, by x + 0 = x and 0 y = 0 alone.

    A LayerNorm, or x times the inverse root of a polynomial of x.
    """
    state = _moved(graph, _moved(graph, graph.output, ("reshape", "slice")).arguments[0], ("reshape", "slice"))
    table = embedding_of(graph).attributes.get("name")
    others = [name for name, _ in graph.parameters() if name != table]
    came = origins(graph, others, ("reshape", "slice"))
    rows = {index for index, origin in came.items() if _is_row(graph, graph.nodes[origin], table)}
    if state.operation == "layer_norm":
        return state.arguments[0] in rows
    made = _polynomials(graph, rows)
    return any(_is_over_root(graph, index, rows, made) for index in state.arguments)


def _is_row(graph: Graph, node: Node, table: Any) -> bool:
    read = [graph.nodes[argument] for argument in node.arguments]
    return node.operation == "take" and read[1].operation == "tokens" and read[0].attributes.get("name") == table


def _is_over_root(graph: Graph, index: int, rows: set[int], polynomials: set[int]) -> bool:
    """Whether a node is x / sqrt(p(x)), with a row x and a polynomial p: a norm by the root mean square."""
    node = _moved(graph, index, ("reshape", "slice"))
    root = {"multiply": "rsqrt", "divide": "sqrt"}.get(node.operation)
    pairs = [node.arguments, *([node.arguments[::-1]] if root == "rsqrt" else [])] if root else []
    factors = [_moved(graph, other, ("reshape", "expand")) for one, other in pairs if one in rows]
    return any(factor.operation == root and factor.arguments[0] in polynomials for factor in factors)


def _polynomials(graph: Graph, variables: set[int]) -> set[int]:
    """The nodes that are polynomials of some nodes."""
    found: set[int] = set()
    for index in live(graph):
        node = graph.nodes[index]
        known = node.operation == "constant" or (node.operation in POLYNOMIAL and found.issuperset(node.arguments))
        if index in variables or known:
            found.add(index)
    return found


def _moved(graph: Graph, index: int, moves: Sequence[str]) -> Node:
    """The node whose entries a node only moves."""
    node = graph.nodes[index]
    while node.operation in moves:
        node = graph.nodes[node.arguments[0]]
    return node


def _matched(
    found: Entries, u: int, beta: int | None, gamma: int | None, w: Sequence[Fraction], width: int
) -> Gate | None:
    """The gate with U, beta and gamma at these places, if all entries are its."""
    first = next(v for v, x in enumerate(w) if x)
    one, rows = Surd.of(1), dict[int, list[Surd]]()
    if beta is not None:
        rows[beta] = [one] * width
    if gamma is not None:
        inverse = Surd.of(1 / w[first])
        read = [found.get((u + first * width + i, gamma + i)) for i in range(width)]
        rows[gamma] = [Surd({}) if entry is None else entry * inverse for entry in read]
    expected: dict[tuple[int, int], Any] = {}
    for place, row in rows.items():
        for (v, x), (i, y) in product(enumerate(w), enumerate(row)):
            if x and y.terms:
                terms = (y * Surd.of(x)).terms
                expected[u + v * width + i, place + i] = expected[place + i, u + v * width + i] = terms
    if expected != {place: entry.terms for place, entry in found.items()}:
        return None
    squares = [(y * y).rational for y in ([Surd({})] * width if gamma is None else rows[gamma])]
    exact = tuple(Fraction(int(square.p), int(square.q)) for square in squares if square is not None)
    return Gate("RMSNorm" if beta is None else "LayerNorm", exact) if len(exact) == width else None


def _starts(graph: Graph, shape: tuple[int, ...], touched: set[int]) -> list[int]:
    """Where the entries of each parameter of a shape begin, of those that have an entry among some."""
    starts, place = list[int](), 0
    for _, kind in graph.parameters():
        if kind.shape == shape and not touched.isdisjoint(range(place, place + kind.size)):
            starts.append(place)
        place += kind.size
    return starts
