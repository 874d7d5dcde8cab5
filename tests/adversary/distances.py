"""Trials of what is said about particular weights: how far apart states are at least, and which are equal."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from proofs import Verdict, certify_separation, certify_vocabulary, check
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import InvalidInput, Unsupported
from proofs.kernel.branches import ball_of
from proofs.network.graph import Graph
from tests.adversary.networks import VOCABULARY
from tests.adversary.points import BITS, TINY, Prompt, as_balls, states
from tests.adversary.prompts import GENERATORS, RELATED, network

Weights = Mapping[str, Any]


def weights_of(graphs: Mapping[int, Graph], chance: random.Random) -> dict[str, Any]:
    """Floats of one format, some rows of tables equal, nearly equal, or zero."""
    kind = chance.choice((np.float16, np.float32, np.float64))
    found: dict[str, Any] = {}
    for name, type_ in sorted({item for graph in graphs.values() for item in graph.parameters()}):
        entries = [chance.choice((0.0, -0.0, 1.0, chance.gauss(0, 1), chance.gauss(0, 1), chance.gauss(0, 1e-3)))
                   for _ in range(type_.size)]  # fmt: skip
        array = np.array(entries, dtype=kind).reshape(type_.shape)
        if len(array) > 2 and chance.random() < 0.4:
            array[2] = array[1]
            if chance.random() < 0.5:
                array[2, ..., 0] = np.nextafter(array[1, ..., 0], kind(9))
        found[name] = array
    return found


def separated(seed: int) -> Counter[str]:
    """A certificate of distances between related prompts of several lengths."""
    chance = random.Random(f"separation {seed}")
    graphs = network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)
    prompts = [p for p in itertools.chain(*chance.sample(RELATED, 2)) if chance.random() < 0.7]
    prompts = [*prompts, (3, 1), (1, 2)] if len(prompts) < 2 else prompts
    weights = weights_of(graphs, chance)
    try:
        found = certify_separation([graphs[n] for n in sorted({len(p) for p in prompts})], weights, prompts)
    except (Undecided, Unsupported):
        return Counter({"not enclosed": 1})
    certificate = json.loads(json.dumps(found.to_json()))
    if check(certificate, weights).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_separation(certificate, weights)


def margin(seed: int) -> Counter[str]:
    """A certificate of the margin of a prefix over the vocabulary."""
    chance = random.Random(f"vocabulary {seed}")
    graphs = network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)
    prefix = tuple(chance.randrange(VOCABULARY) for _ in range(chance.choice((1, 1, 2, 3))))
    graph = graphs[len(prefix) + 1]
    weights = weights_of({graph.length: graph}, chance)
    tokens = chance.choice((3, VOCABULARY, VOCABULARY))
    try:
        found = certify_vocabulary(graph, weights, prefix, tokens)
    except (Undecided, Unsupported):
        return Counter({"not enclosed": 1})
    except InvalidInput:
        return Counter({"equal rows alone": 1})
    certificate = json.loads(json.dumps(found.to_json()))
    if check(certificate, weights).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_margin(certificate, weights)


def of_separation(certificate: Mapping[str, Any], weights: Weights) -> Counter[str]:
    """Every pair that is not named as equal or open is as far apart as the claim says; the named ones are equal."""
    graphs = [Graph.from_json(graph) for graph in certificate["graphs"]]
    prompts = [tuple(row["token_ids"]) for row in certificate["prompts"]]
    equal = {(pair["first"], pair["second"]) for pair in certificate["identical"]}
    left = {tuple(pair) for pair in certificate["unresolved"]}
    apart = set(itertools.combinations(range(len(prompts)), 2)) - equal - left
    with Balls(BITS):
        at = true_states({graph.length: graph for graph in graphs}, prompts, weights)
        rows = [at[prompt] for prompt in prompts]
        found = distances(rows, apart, equal, certificate["claim"]["minimum_lower_bound"])
        for row, written in zip(rows, certificate["prompts"], strict=True):
            if row:
                last = written["enclosures"][-1]
                box = Enclosure.from_json(last, len(last["radius"]), len(row)).last()
                size, middle = flint.arb((box.radius[0], -box.bits)), box.mantissa[0].tolist()
                gaps = [abs(state - flint.arb((m, -box.bits))) for state, m in zip(row, middle, strict=True)]
                found["enclosure"] += 1
                found["contradicted"] += any(bool(gap > size) for gap in gaps)
    return found


def of_margin(certificate: Mapping[str, Any], weights: Weights) -> Counter[str]:
    """The same of a prefix followed by every token."""
    (graph,) = (Graph.from_json(graph) for graph in certificate["graphs"])
    tokens = certificate["tokens"]
    prompts = [(*certificate["prefix"], token) for token in range(tokens)]
    every = set(itertools.combinations(range(tokens), 2))
    equal = {pair for group in certificate["duplicates"] for pair in itertools.combinations(group, 2)}
    classes = {group[0]: group for group in certificate["duplicates"]}
    chosen = [classes.get(row["token_ids"][-1], [row["token_ids"][-1]]) for row in certificate["closest"]["prompts"]]
    left = {
        tuple(sorted(pair)) for i, j in certificate["closest"]["unresolved"]
        for pair in itertools.product(chosen[i], chosen[j])
    }  # fmt: skip
    claim = certificate["claim"]
    if claim["minimum_lower_bound"] is not None and claim["certified"] != len(every - equal - left):
        return Counter(contradicted=1)
    with Balls(BITS):
        at = true_states({graph.length: graph}, prompts, weights)
        return distances(
            [at[p] for p in prompts], every - equal - left, equal, certificate["claim"]["minimum_lower_bound"]
        )


def true_states(graphs: Mapping[int, Graph], prompts: Sequence[Prompt], weights: Weights) -> dict[Prompt, list[Any]]:
    """The states at the weights, read as exact numbers."""
    balls = Balls(BITS)
    exact = {name: as_balls([float(v) for v in array.ravel()], array.shape, balls) for name, array in weights.items()}
    return states(graphs, set(prompts), exact)


def distances(rows: Sequence[Sequence[Any]], apart: set[Any], equal: set[Any], least: str | None) -> Counter[str]:
    """What is claimed of pairs of states, against their distances; balls of the right bits are in force."""
    found: Counter[str] = Counter()
    for first, second in {*apart, *equal}:
        kind = "apart" if (first, second) in apart else "equal"
        if least is None and kind == "apart":
            continue
        found[kind] += 1
        gaps = [(a - b) ** 2 for a, b in zip(rows[first], rows[second], strict=False)]
        total = sum(gaps, start=flint.arb(0))
        if not gaps or not total.is_finite() or float(total.rad()) > TINY:
            found[f"{kind}: undecided"] += 1
        elif kind == "equal":
            found["contradicted"] += not total.contains(0)
        else:
            found["contradicted"] += bool(total < ball_of(Fraction(str(least)) ** 2))
    return found
