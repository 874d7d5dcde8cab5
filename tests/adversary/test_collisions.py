"""No accepted claim about two prompts may be contradicted by evaluation with 200 digits, on networks of any kind."""

import itertools
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.errors import Unsupported
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from tests.adversary.networks import GENERATORS, LONGEST

BITS = 700  # some 200 digits
TINY = 2.0**-500
PROMPTS = [p for n in range(1, LONGEST + 1) for p in itertools.product((1, 2), repeat=n)] + [
    (1, 2, 3), (2, 1, 3), (3, 2, 3), (1, 2, 3, 4), (2, 1, 3, 4), (1, 3, 2, 4), (5, 2, 3, 4), (1, 3), (2, 3),
]  # fmt: skip


def network(generator: str, seed: int) -> dict[int, Graph]:
    return {n: GENERATORS[generator](random.Random(f"{generator} {seed}"), n) for n in range(1, LONGEST + 1)}


def states(graphs: dict[int, Graph], prompts: list[tuple[int, ...]], seed: int) -> dict[tuple[int, ...], list[Any]]:
    """The last states at one drawn point; none where balls cannot go on."""
    drawn: dict[str, Any] = {}
    found: dict[tuple[int, ...], list[Any]] = {}
    with Balls(BITS) as balls:
        for prompt in prompts:
            inputs: dict[str, Any] = {"tokens": np.array([prompt], dtype=np.int64)}
            for name, kind in graphs[len(prompt)].parameters():
                if name not in drawn:
                    chance = random.Random(f"{seed} {name}")
                    flat = np.empty(kind.size, dtype=object)
                    flat[:] = [balls.number(Fraction(chance.randint(-999, 999), 500)) for _ in range(kind.size)]
                    drawn[name] = flat.reshape(kind.shape)
                inputs[name] = drawn[name]
            try:
                found[prompt] = list(evaluate(graphs[len(prompt)], inputs, balls)[0, -1])
            except (Undecided, Unsupported):
                found[prompt] = []
    return found


def contradicted(graphs: dict[int, Graph], pairs: list[tuple[Any, Any]], seed: int) -> tuple[int, int]:
    """How many pairs were evaluated so finely that a difference would show, and how many of them differ."""
    prompts = sorted({prompt for pair in pairs for prompt in pair})
    at = states(graphs, prompts, seed)
    looked, wrong = 0, 0
    with Balls(BITS):
        for first, second in pairs:
            gaps = [a - b for a, b in zip(at[first], at[second], strict=False)]
            if gaps and all(float(gap.rad()) < TINY for gap in gaps):
                looked += 1
                wrong += any(not gap.contains(0) for gap in gaps)
    return looked, wrong


def judge(generator: str, seeds: range) -> tuple[int, int, int]:
    """Claims of equality, those that were evaluated, and those that are false."""
    claims = looked = wrong = 0
    for seed in seeds:
        graphs = network(generator, seed)
        numbering = Numbering(graphs.values())
        groups: dict[int, list[tuple[int, ...]]] = {}
        for prompt in PROMPTS:
            groups.setdefault(numbering.last_state(graphs[len(prompt)], prompt), []).append(prompt)
        pairs = [(group[0], other) for group in groups.values() for other in group[1:]]
        claims += len(pairs)
        if pairs:
            seen, false = contradicted(graphs, pairs, seed)
            looked, wrong = looked + seen, wrong + false
            assert not false, (generator, seed, pairs)
    return claims, looked, wrong


@pytest.mark.parametrize("generator", GENERATORS)
def test_prompts_that_have_one_number_have_one_state(generator: str) -> None:
    claims, looked, _ = judge(generator, range(60))
    assert claims > 60
    assert looked > claims // 2


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
@pytest.mark.parametrize("generator", GENERATORS)
def test_no_claim_on_ten_thousand_networks_is_false(generator: str, part: int) -> None:
    claims, looked, wrong = judge(generator, range(1000 + 500 * part, 1500 + 500 * part))
    assert wrong == 0
    assert looked > claims // 2


def test_a_false_claim_would_be_seen() -> None:
    seed = next(s for s in range(99) if contradicted(network("decoder", s), [((1, 2, 3), (2, 1, 3))], s)[1])
    assert contradicted(network("decoder", seed), [((1, 2, 3), (2, 1, 3))], seed) == (1, 1)
