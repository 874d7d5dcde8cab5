"""Trials of what is said about prompts: which pairs have one state, whatever the parameters, and which differ."""

import random
from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

from proofs import Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.theorems.generic_position import examine
from tests.adversary.entries import mingled
from tests.adversary.moves import CHOICES, ROWS, moved, shuffled, weighted
from tests.adversary.networks import LONGEST, VOCABULARY, WIDTH, decoder
from tests.adversary.points import BITS, Prompt, equal, inputs_at, states
from tests.proofs.building import Net

GENERATORS = {"decoder": decoder, "shuffled": shuffled, "weighted": weighted, "mingled": mingled}
RELATED = [
    ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)), ((1, 2, 3), (2, 1, 3), (3, 2, 3), (1, 1, 3)), ((1, 2), (3, 2), (2, 2)),
    ((1, 2, 3, 4), (2, 1, 3, 4), (1, 3, 2, 4), (5, 2, 3, 4)), ((1, 2), (1, 2, 1, 2), (1, 1, 2, 2)),
    ((2, 1, 1), (1, 2, 1), (2, 1)), ((1, 2, 2, 1), (2, 1, 1), (2, 2, 1, 1), (2, 1)),
    ((3, 2, 1, 2), (1, 2, 1, 2), (1, 2)),
]  # fmt: skip
KINDS = ("collide", "differ")


def network(generator: str, seed: int) -> dict[int, Graph]:
    """One network at every length."""
    return {n: GENERATORS[generator](random.Random(f"{generator} {seed}"), n) for n in range(1, LONGEST + 1)}


def judged(graphs: Mapping[int, Graph], claims: Mapping[tuple[Prompt, Prompt], str], seed: object) -> Counter[str]:
    """Claims that pairs `collide` or `differ`, held against their states at points that the kernel never saw.

    States that agree to 150 digits may differ after them, where a weight of a softmax is as small, and states that
    differ almost everywhere may agree at a point: those of a pair that is said to differ are looked at again, at
    another point and nearer to 0.
    """
    found = Counter(claims.values())
    seen = agree(graphs, claims, seed, Fraction(1))
    again = [pair for pair, kind in claims.items() if kind == "differ" and seen[pair]]
    seen |= agree(graphs, again, f"{seed} again", Fraction(1, 16))
    for pair, kind in claims.items():
        if seen[pair] is None:
            found[f"{kind}: undecided"] += 1
        elif seen[pair] != (kind == "collide"):
            found["contradicted"] += 1
    return found


def agree(
    graphs: Mapping[int, Graph], pairs: Collection[tuple[Prompt, Prompt]], seed: object, scale: Fraction
) -> dict[tuple[Prompt, Prompt], bool | None]:
    """Whether the states of each pair are the same at one point; None where they are not known so well."""
    if not pairs:
        return {}
    with Balls(BITS) as balls:
        parameters: dict[str, Any] = {}
        for graph in graphs.values():
            parameters |= inputs_at(graph, seed, balls, scale=scale)
        at = states(graphs, sorted({prompt for pair in pairs for prompt in pair}), parameters)
        return {(first, second): equal(at[first], at[second]) for first, second in pairs}


def numbered(generator: str, seed: int) -> Counter[str]:
    """Which of some related prompts have one number, and whether they have one state."""
    graphs = network(generator, seed)
    numbering = Numbering(graphs.values())
    chosen = [RELATED[0], *random.Random(seed).sample(RELATED[1:], 2)]
    groups: dict[int, list[Prompt]] = {}
    for prompt in sorted({prompt for related in chosen for prompt in related}):
        groups.setdefault(numbering.last_state(graphs[len(prompt)], prompt), []).append(prompt)
    pairs = {(group[0], other): "collide" for group in groups.values() for other in group[1:]}
    return judged(graphs, pairs, seed)


def in_general(seed: int, context: int = 2) -> Counter[str]:
    """A certificate of generic position: what differs for almost every parameter, and what never does."""
    chance = random.Random(f"generic {seed}")
    every = chosen_by(chance) if seed % 2 else network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)
    graphs = {n: every[n] for n in range(1, context + 1)}
    names = [name for name, _ in graphs[1].parameters() if name != "embedding"]
    zeroed = chance.sample(names, min(len(names), 1 + chance.randrange(2)))
    behind = [name for name in names if name.endswith("down")]
    found = examine(graphs, context=context, seed=seed, zeroed=chance.choice((zeroed, behind, [*behind, *zeroed])))
    certificate = found.to_json()
    if check(certificate).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_certificate(certificate, seed) + Counter({f"with {found.claim['regularity']} states": 1})


def chosen_by(chance: random.Random) -> dict[int, Graph]:
    """Networks with gates and steps, which take choices, before an attention or behind it."""
    draw = chance.random()
    return {n: _choosing(random.Random(f"choosing {draw}"), n) for n in range(1, LONGEST + 1)}


def _choosing(chance: random.Random, length: int) -> Graph:
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)
    x = moved(net, x, length, chance, CHOICES, chance.choice((1, 2)), "choice")
    x = moved(net, x, length, chance, ROWS, chance.choice((0, 1)), "step")
    if chance.random() < 0.5:
        x = ROWS["mix"](net, x, length, "mix.", chance)
    return net.graph(x)


def of_certificate(certificate: Mapping[str, Any], seed: object) -> Counter[str]:
    """What an accepted certificate of generic position says of every pair."""
    graphs = {int(n): Graph.from_json(graph) for n, graph in certificate["graphs"].items()}
    claims = {(tuple(s), tuple(t)): outcome.partition(":")[0] for s, t, outcome in certificate["classes"]}
    left = {pair: kind for pair, kind in claims.items() if kind in KINDS}
    return judged(graphs, left, f"judge {seed}") + Counter({"left open": len(claims) - len(left)})
