"""Values at points with some 200 digits, and what is certain of two of them."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import LEAVES, Graph
from proofs.operations import REGISTRY
from proofs.operations.interpreter import evaluate, live

BITS = 700  # some 200 digits
TINY = 2.0**-500
FINE = 2**41
Prompt = tuple[int, ...]
EXTREME = (0, 0, 1, -1, Fraction(1, 2), Fraction(1, 2**40), -Fraction(1, 2**40), 3, -3, 2**12, -(2**12))


def drawn(seed: object, name: str, size: int, extreme: float = 0.0) -> list[Fraction]:
    """Entries of a parameter: between -2 and 2 and so fine that no sums are equal by chance; a share is extreme."""
    chance = random.Random(f"{seed} {name}")
    return [
        Fraction(chance.choice(EXTREME))
        if chance.random() < extreme
        else Fraction(chance.randint(-FINE, FINE), FINE // 2)
        for _ in range(size)
    ]


def as_balls(values: Sequence[Any], shape: tuple[int, ...], balls: Balls) -> Any:
    """Exact numbers as balls of a shape."""
    flat = np.empty(len(values), dtype=object)
    flat[:] = [balls.number(Fraction(value)) for value in values]
    return flat.reshape(shape)


def inputs_at(
    graph: Graph, seed: object, balls: Balls, extreme: float = 0.0, scale: Fraction = Fraction(1)
) -> dict[str, Any]:
    """All parameters at one drawn point, times a number."""
    return {
        name: as_balls([scale * value for value in drawn(seed, name, kind.size, extreme)], kind.shape, balls)
        for name, kind in graph.parameters()
    }


def states(
    graphs: Mapping[int, Graph], prompts: Iterable[Prompt], parameters: Mapping[str, Any]
) -> dict[Prompt, list[Any]]:
    """The last states of prompts; none where balls cannot go on. Call it where balls of these bits are in force."""
    found: dict[Prompt, list[Any]] = {}
    balls = Balls(BITS)
    for prompt in prompts:
        tokens = np.array([prompt], dtype=np.int64)
        try:
            found[prompt] = list(evaluate(graphs[len(prompt)], {"tokens": tokens, **parameters}, balls)[0, -1])
        except (Undecided, Unsupported):
            found[prompt] = []
    return found


def every_value(graph: Graph, inputs: Mapping[str, Any], balls: Balls) -> Iterator[tuple[int, Any]]:
    """The live nodes with their values, one after the other, up to the first that balls cannot give."""
    values: dict[int, Any] = {}
    for index in live(graph):
        node = graph.nodes[index]
        try:
            if node.operation == "constant":
                known = graph.constant(node)
                values[index] = None if known is None else balls.constant(known)
            elif node.operation in LEAVES:
                values[index] = inputs["tokens" if node.operation == "tokens" else str(node.attributes["name"])]
            else:
                arguments = [values[i] for i in node.arguments]
                values[index] = REGISTRY[node.operation].evaluate(balls, arguments, node.attributes)
        except (Undecided, Unsupported, InvalidInput):
            return  # +inf, or a mask, say, leaves all of a node unproved, its attributes too
        yield index, values[index]


def equal(first: Sequence[Any], second: Sequence[Any]) -> bool | None:
    """Whether two vectors are the same: True if so to 150 digits, None if they are not known so well."""
    if len(first) != len(second) or not first:
        return None
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    if any(not gap.contains(0) for gap in gaps):
        return False
    return True if all(float(gap.rad()) < TINY for gap in gaps) else None
