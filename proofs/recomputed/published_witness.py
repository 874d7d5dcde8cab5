"""The parameters that the paper writes down (arXiv 2510.15511, Theorem 2.2), as printed and repaired, put into a graph.

The graph is a GPT-2 of width 4 with one head and one block. Both prompts are evaluated: exactly, in a ring with square
roots (`proofs.arithmetic.surds`), and where that leaves the ring, in balls. Zero is claimed by the algebra alone,
non-zero by either. The repair swaps the two prompts where the other prompt's token at the first mismatch is the common
last token (docs/witness.md).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.surds import Surd, Surds
from proofs.errors import InvalidInput
from proofs.kernel.patterns import rows_are_free
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate, live

Prompt = tuple[int, ...]


Outcome = Literal["zero", "separated", "undecided"]


BITS = 128


WIDTH = 4


_HALF = Fraction(1, 2)


# Three orthonormal vectors, orthogonal to (1, 1, 1, 1), with rational entries.
E, P, Q = ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))


DELTA = Fraction(1, 5)  # any delta < c_ep / (c_ep + 2 c_e); that bound is above 1/4, as c_ep > c_e / sqrt 2


@dataclass(frozen=True, slots=True)
class Point:
    """The parameters that the paper writes down for one pair: where e, p, q and unit vectors stand."""

    tokens: tuple[tuple[int, str], ...] = ()
    places: tuple[tuple[int, str], ...] = ()
    target: int = -1  # the position i* that is attended to; -1 where the block is zero
    length: int = 0


def printed(first: Prompt, second: Prompt) -> Point:
    """The witness of the paper for (first, second), as printed.

    Raises:
        InvalidInput: the prompts are equal.
    """
    if first == second:
        raise InvalidInput("Expected two different prompts, but got the same twice; there is no witness.")
    if first[-1] != second[-1]:
        return Point(tokens=((first[-1], "1"), (second[-1], "2")))
    if len(first) != len(second):
        return Point(places=((len(first) - 1, "1"), (len(second) - 1, "2")))
    mismatch = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    raised = tuple((token, "e") for token in sorted({first[mismatch], first[-1]}))
    return Point(raised, ((mismatch, "p"), (len(first) - 1, "q")), mismatch, len(first))


def doubtful(first: Prompt, second: Prompt) -> bool:
    """Whether the printed argument has its gap here: the mismatch in `second` is the common last token."""
    if len(first) != len(second) or first[-1] != second[-1]:
        return False
    return next((b for a, b in zip(first, second, strict=True) if a != b), None) == first[-1]


def repaired(first: Prompt, second: Prompt) -> Point:
    """The witness with the roles swapped where the printed one has its gap."""
    return printed(second, first) if doubtful(first, second) else printed(first, second)


def collides_by_criterion(first: Prompt, second: Prompt) -> bool:
    """Our criterion for zero as printed: in the gap, and equally many other tokens carry e (docs/witness.md)."""
    if not doubtful(first, second):
        return False
    mismatch = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    raised = {first[mismatch], first[-1]}
    counts = [sum(u in raised for i, u in enumerate(x[:-1]) if i != mismatch) for x in (first, second)]
    return counts[0] == counts[1]


@dataclass(slots=True)
class Network:
    """One-block GPT-2 graphs by length, with states remembered by point and prompt."""

    graphs: Mapping[int, Graph]
    vocabulary: int
    _known: dict[Hashable, Sequence[Any]] = field(default_factory=dict[Hashable, Sequence[Any]])

    def outcome(self, point: Point, first: Prompt, second: Prompt) -> Outcome:
        """Whether the last states of both prompts are equal at a point."""
        exact, logarithm = Surds(_odds(point)), Surd.of(1, logarithms=1)
        states = [self._last(point, prompt, exact, logarithm) for prompt in (first, second)]
        differences = [a - b for a, b in zip(*states, strict=True)]
        if all(d.zero is True for d in differences):
            return "zero"
        if any(d.zero is False for d in differences):
            return "separated"
        with Balls(BITS) as balls:
            states = [self._last(point, prompt, balls) for prompt in (first, second)]
            apart = any(not (a - b).contains(0) for a, b in zip(*states, strict=True))
        return "separated" if apart else "undecided"

    def _last(self, point: Point, prompt: Prompt, arithmetic: Any, logarithm: Any = None) -> Sequence[Any]:
        """The last state, remembered: in the algebra, where the logarithm of the odds is a symbol, or in balls."""
        key = (point, prompt, logarithm is None)
        if key not in self._known:
            inputs = self._inputs(point, prompt, arithmetic, logarithm)
            self._known[key] = list(evaluate(self.graphs[len(prompt)], inputs, arithmetic)[0, -1])
        return self._known[key]

    def _inputs(self, point: Point, prompt: Prompt, arithmetic: Any, logarithm: Any) -> dict[str, Any]:
        graph = self.graphs[len(prompt)]
        inputs: dict[str, Any] = {"tokens": np.array([prompt], dtype=np.int64)}
        for name, kind in graph.parameters():
            table = np.full(kind.shape, arithmetic.number(Fraction(0)), dtype=object)
            _fill(table, role_of(name), point, epsilon(graph), arithmetic, logarithm)
            inputs[name] = table
        return inputs


def _odds(point: Point) -> Fraction:
    """e^Lambda = (1 - delta) (T - 1) / delta."""
    return (1 - DELTA) * (point.length - 1) / DELTA if point.length > 1 else Fraction(1)


def epsilon(graph: Graph) -> Fraction:
    """The epsilon of its layer norms, exactly.

    Raises:
        InvalidInput: there is none, or it is not positive.
    """
    read = map(graph.nodes.__getitem__, live(graph))
    found = {node.attributes.get("epsilon") for node in read if node.operation == "layer_norm"}
    value = next(iter(found), None)
    if len(found) != 1 or not isinstance(value, Fraction) or value <= 0:
        raise InvalidInput("Expected one positive epsilon in all layer norms; capture a GPT-2.")
    return value


BY_TOKENS = ("wte.weight", "lm_head.weight")
_ROLES = ("wpe.weight", "wte.weight", "lm_head.weight", "c_attn.weight", "attn.c_proj.weight", "ln_1.weight",
          "ln_2.weight")  # fmt: skip


def role_of(name: str) -> str:
    """Which of the parameters of a GPT-2 a name is of; `zero` for those that are zero at every point."""
    return next((role for role in _ROLES if name.endswith(role)), "zero")


def names_do_not_matter(graph: Graph) -> bool:
    """Whether relabelling tokens permutes the rows that a point writes down by tokens, and changes nothing else.

    What the state does not read shows nothing: a table that tokens index there alone may be read at a fixed row.
    """
    read = {
        graph.nodes[node.arguments[0]].attributes.get("name")
        for node in map(graph.nodes.__getitem__, live(graph))
        if node.operation == "take" and graph.nodes[node.arguments[1]].operation == "tokens"
    }
    return rows_are_free(graph) and read == {name for name, _ in graph.parameters() if role_of(name) in BY_TOKENS}


def _fill(table: Any, role: str, point: Point, eps: Fraction, arithmetic: Any, logarithm: Any) -> None:
    """Writes one parameter of the point: rows e, p, q and unit vectors; Q = alpha e e1', K = p e1', V = e e1'."""
    number = arithmetic.number
    if role in ("ln_1.weight", "ln_2.weight"):
        table[...] = number(Fraction(1))
    elif role in (*BY_TOKENS, "wpe.weight"):
        for row, name in point.places if role == "wpe.weight" else point.tokens:
            for i, entry in enumerate(_vector(name)):
                table[row, i] = number(entry)
    elif role == "c_attn.weight" and point.target >= 0:
        # alpha alpha' = sqrt(d_head) Lambda / c_ep^2 with sqrt(d_head) = 2, c_ep^-2 = 1/2 + epsilon, alpha' = 1
        scale = number(2 * (_HALF + eps)) * (number(_odds(point)).log() if logarithm is None else logarithm)
        for i in range(WIDTH):
            table[i, 0] = scale * number(E[i] * _HALF)
            table[i, WIDTH] = number(P[i] * _HALF)
            table[i, 2 * WIDTH] = number(E[i] * _HALF)
    elif role == "attn.c_proj.weight" and point.target >= 0:
        table[0, 0] = number(Fraction(1))


def _vector(name: str) -> list[Fraction]:
    if name in ("1", "2"):
        return [Fraction(int(i == int(name) - 1)) for i in range(WIDTH)]
    return [entry * _HALF for entry in {"e": E, "p": P, "q": Q}[name]]
