"""Trials of what is said about a training step: its determinant, against one from differences of the loss."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from proofs import Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.kernel.branches import ball_of
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.recomputed.optimizers import kept
from proofs.recomputed.training_step import Sample, prove_step
from tests.adversary.points import BITS, as_balls
from tests.proofs.building import Net

STEP = Fraction(1, 2**120)  # of the differences: second derivatives have an error of some 2^-240
NEAR = 2.0**-160
WORDS = 3


def stepped(seed: int) -> Counter[str]:
    """A step of plain or decaying gradient descent on a network of few parameters, drawn as a whole."""
    certificate = certificate_of(seed)
    if check(certificate).verdict is not Verdict.ACCEPTED:
        return Counter(rejected=1)
    return of_step(certificate)


def certificate_of(seed: int) -> dict[str, Any]:
    """An honest certificate of such a step."""
    chance = random.Random(f"training {seed}")
    samples = [Sample(tuple(chance.randrange(WORDS) for _ in range(2)), _target(chance)) for _ in range(2)]
    rule, rate = chance.choice(("gd", "weight-decay")), Fraction(chance.choice((1, 2, 9)), chance.choice((1, 10)))
    found = prove_step(_network(chance), samples, rule=rule, rate=rate, seed=seed)
    return json.loads(json.dumps(found.to_json()))


def of_step(certificate: Mapping[str, Any]) -> Counter[str]:
    """Both determinants of an accepted certificate, and that they are not zero if it says so."""
    graph = Graph.from_json(certificate["graph"])
    source = random.Random(certificate["seed"])
    sizes = [kind.size for _, kind in graph.parameters()]
    point = [Fraction(source.getrandbits(7), 128) - Fraction(1, 2) for _ in range(sum(sizes))]
    counts: Counter[str] = Counter()
    with Balls(BITS):
        each = [second_derivatives(graph, sample, point) for sample in certificate["samples"]]
        for name, batch in (("one sample", each[:1]), ("batch", each)):
            size, share = len(point), ball_of(Fraction(1, len(batch)))
            rate = ball_of(Fraction(certificate["rate"])) * share
            rest = ball_of(kept(certificate["rule"], Fraction(certificate["rate"])))
            sums = [[sum((h[i][j] for h in batch), start=flint.arb(0)) for j in range(size)] for i in range(size)]
            rows = [[(rest if i == j else 0) - rate * sums[i][j] for j in range(size)] for i in range(size)]
            true = flint.arb_mat(rows).det()
            said = certificate["claim"][name]
            gap = abs(true - flint.arb(said["midpoint"])) - flint.arb(said["radius"])
            counts["determinant"] += 1
            counts["contradicted"] += bool(gap > NEAR) or (certificate["claim"]["non_zero"] and bool(abs(true) < NEAR))
    return counts


def second_derivatives(graph: Graph, sample: Mapping[str, Any], point: Sequence[Fraction]) -> list[list[Any]]:
    """Of the cross-entropy at a point, by central differences."""
    size = len(point)
    found = [[flint.arb(0)] * size for _ in range(size)]
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        total = flint.arb(0)
        for one, other in itertools.product((1, -1), repeat=2):
            moved = list(point)
            moved[i] += one * STEP
            moved[j] += other * STEP
            total += one * other * _loss(graph, sample, moved)
        found[i][j] = found[j][i] = total * ball_of(1 / (4 * STEP**2))
    return found


def _loss(graph: Graph, sample: Mapping[str, Any], point: Sequence[Fraction]) -> Any:
    balls = Balls(BITS)
    inputs: dict[str, Any] = {"tokens": np.array([sample["tokens"]], dtype=np.int64)}
    start = 0
    for name, kind in graph.parameters():
        inputs[name] = as_balls(point[start : start + kind.size], kind.shape, balls)
        start += kind.size
    logits = evaluate(graph, inputs, balls).ravel().tolist()
    share = sum((ball_of(Fraction(t)) * z for t, z in zip(sample["target"], logits, strict=True)), start=flint.arb(0))
    return sum((z.exp() for z in logits), start=flint.arb(0)).log() - share


def _target(chance: random.Random) -> tuple[Fraction, ...]:
    shares = [Fraction(chance.randrange(4)) for _ in range(WORDS)]
    shares[0] += not sum(shares)
    return tuple(share / sum(shares) for share in shares)


def _network(chance: random.Random) -> Graph:
    """Embedding, positions or none, one or two steps, and the logits at the last token."""
    net = Net()
    x = net.op("take", net.parameter("embedding", WORDS, 1), net.tokens(2, WORDS), axis=0)
    if chance.random() < 0.5:
        x = net.op("add", x, net.parameter("positions", 2, 1))
    for number in range(chance.choice((1, 1, 2))):
        kind = chance.choice(("tanh", "silu", "gelu", "sin", "power", "softplus", "mean", "norm"))
        if kind == "mean":
            x = net.op("add", x, net.op("mean", x, axes=(1,), keep=True))
        elif kind == "norm":
            x = net.op("divide", x, net.op("add", net.op("power", x, exponent=2), net.constant(1)))
        else:
            y = net.op("multiply", x, net.parameter(f"scale.{number}", 1))
            extra = {"power": {"exponent": 3}, "softplus": {"beta": Fraction(1)}}.get(kind, {})
            x = net.op("add", x, net.op(kind, y, **extra))
    last = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    return net.graph(net.op("multiply", last, net.parameter("head", WORDS)))
