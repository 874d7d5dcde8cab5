"""Certificates of the theorems, changed as somebody would who knows what they mean: training steps and the witness."""

import json
import random
from collections import Counter
from fractions import Fraction
from typing import Any

from proofs import Graph, InvalidInput
from proofs.kernel.result import digest
from proofs.network.folding import unfolded
from proofs.recomputed.published_witness import collides_by_criterion
from proofs.recomputed.training_step import EVERY_RATE, NOT_SHOWN, STATEMENT, Sample, prove_step
from proofs.recomputed.witness import STATEMENT as COUNTED
from proofs.recomputed.witness import count_witness
from tests.adversary import training
from tests.proofs.decoders import gpt2

Certificate = dict[str, Any]


def step(seed: int) -> tuple[Certificate, Any]:
    """An honest certificate of a step of plain or decaying gradient descent."""
    certificate = training.certificate_of(seed)
    return {**certificate, "graph": unfolded(certificate["graph"])}, None


def witness(seed: int) -> tuple[Certificate, Any]:
    """An honest count of where the published witness fails."""
    vocabulary, context = ((2, 2), (3, 2), (2, 3), (4, 1))[seed % 4]
    graphs = {length: gpt2(length, vocabulary) for length in range(1, context + 1)}
    return json.loads(json.dumps(count_witness(graphs, vocabulary=vocabulary, context=context).to_json())), None


def of_witness(certificate: Certificate, _weights: Any, _seed: int) -> Counter[str]:
    """The pairs and counts of an accepted certificate, against the criterion of docs/witness.md, pair by pair."""
    claim = certificate["claim"]
    tokens, longest = claim["vocabulary"], claim["context"]
    prompts = [()]
    every = [prompts := [(*one, token) for one in prompts for token in range(tokens)] for _ in range(longest)]
    flat = [prompt for part in every for prompt in part]
    zero = [[list(s), list(t)] for s in flat for t in flat if s != t and collides_by_criterion(s, t)]
    right = (
        sorted(certificate["zero"]) == sorted(zero)
        and (claim["zero_as_printed"], claim["zero_repaired"], claim["undecided"]) == (len(zero), 0, 0)
        and claim["pairs"] == len(flat) * (len(flat) - 1)
    )
    return Counter({"witness": 1, "contradicted": int(not right)})


def _determinant(c: Certificate, r: random.Random) -> None:
    """Another midpoint or a smaller radius."""
    said = c["claim"][r.choice(("one sample", "batch"))]
    name = r.choice(("midpoint", "radius", "radius"))
    said[name] = repr(float(said[name]) * r.choice((0.5, 0.9, 1.1, -1.0, 0.0)))


def _rate(c: Certificate, r: random.Random) -> None:
    c["rate"] = c["claim"]["rate"] = str(Fraction(r.choice((1, 2, 9)), r.choice((1, 3, 10))))
    _restate(c)


def _rule(c: Certificate, r: random.Random) -> None:
    c["rule"] = c["claim"]["rule"] = r.choice(("gd", "weight-decay"))
    _restate(c)


def _sample(c: Certificate, r: random.Random) -> None:
    """Another target or another prompt."""
    sample = r.choice(c["samples"])
    if r.random() < 0.5:
        sample["target"] = r.sample(sample["target"], len(sample["target"]))
    else:
        sample["tokens"][r.randrange(len(sample["tokens"]))] = r.randrange(training.WORDS)
    c["claim"]["samples"] = digest(c["samples"])


def _network(c: Certificate, r: random.Random) -> None:
    """Another operation or argument, and a digest that fits."""
    row = r.choice([row for row in c["graph"]["nodes"] if row[1]])
    if r.random() < 0.5:
        row[0] = r.choice(("tanh", "sin", "silu", "gelu", "negate", row[0]))
    else:
        row[1][r.randrange(len(row[1]))] = r.randrange(c["graph"]["nodes"].index(row))
    c["claim"]["graph"] = digest(c["graph"])


def _shown(c: Certificate, r: random.Random) -> None:
    """What was not shown is claimed, for this rate or for all."""
    claim = c["claim"]
    claim["non_zero"] = r.random() < 0.7
    claim["every_rate"] = claim["non_zero"] and r.random() < 0.5
    _restate(c)


def _point(c: Certificate, r: random.Random) -> None:
    c["seed"] = r.randrange(99)


def _proved_anew(c: Certificate, r: random.Random) -> None:
    """Something else is changed, and all that follows of it is worked out."""
    r.choice((_rate, _rule, _sample, _network, _point))(c, r)
    samples = [Sample(tuple(s["tokens"]), tuple(map(Fraction, s["target"]))) for s in c["samples"]]
    graph, rate = Graph.from_json(c["graph"]), Fraction(c["rate"])
    c.update(prove_step(graph, samples, rule=c["rule"], rate=rate, seed=c["seed"]).to_json())


def _restate(c: Certificate) -> None:
    claim = c["claim"]
    words = (STATEMENT if claim["non_zero"] else NOT_SHOWN) + (EVERY_RATE.format(but="") if claim["every_rate"] else "")
    what = f"a network of {claim['parameters']} parameters, on one sample and on a batch of {claim['batch']},"
    claim["statement"] = words.format(rule=c["rule"], rate=c["rate"], what=what, joint="")


def _pair(c: Certificate, r: random.Random) -> None:
    """A pair on which the witness fails is left out, or one more is named; the counts fit."""
    zero = c["zero"]
    if zero and r.random() < 0.5:
        zero.pop(r.randrange(len(zero)))
    else:
        words = c["claim"]["vocabulary"]
        zero.append([[r.randrange(words) for _ in range(c["claim"]["context"])] for _ in range(2)])
    c["claim"]["zero_as_printed"] = len(zero)
    _recount(c)


def _count(c: Certificate, r: random.Random) -> None:
    name = r.choice(("in_gap", "zero_as_printed", "zero_repaired", "undecided", "pairs", "against_criterion"))
    c["claim"][name] = max(0, c["claim"][name] + r.choice((-1, 1)))
    _recount(c)


def _size(c: Certificate, r: random.Random) -> None:
    c["claim"][r.choice(("vocabulary", "context"))] = r.randrange(1, 5)
    _recount(c)


def _longer(c: Certificate, r: random.Random) -> None:
    """The graph of one length stands for another."""
    names = sorted(c["graphs"])
    c["graphs"][r.choice(names)] = c["graphs"][r.choice(names)]
    c["claim"]["graphs"] = digest(c["graphs"])


def _counted_anew(c: Certificate, r: random.Random) -> None:
    """Fewer tokens or positions, counted as they are."""
    graphs = {int(length): Graph.from_json(graph) for length, graph in c["graphs"].items()}
    tokens, longest = (r.randrange(1, c["claim"][name] + 1) for name in ("vocabulary", "context"))
    fewer = {length: graphs[length] for length in range(1, longest + 1)}
    c.update(json.loads(json.dumps(count_witness(fewer, vocabulary=tokens, context=longest).to_json())))


def _recount(c: Certificate) -> None:
    claim = c["claim"]
    claim["statement"] = COUNTED.format(
        pairs=claim["pairs"], context=claim["context"], vocabulary=claim["vocabulary"],
        printed=claim["zero_as_printed"], repaired=claim["zero_repaired"], undecided=claim["undecided"],
    )  # fmt: skip


CHANGES = {
    "training step": (_determinant, _rate, _rule, _sample, _network, _shown, _point, _proved_anew, _proved_anew),
    "witness": (_pair, _pair, _count, _size, _longer, _counted_anew),
}
HONEST = {"training step": step, "witness": witness}


def of_step(certificate: Certificate, _weights: Any, _seed: int) -> Counter[str]:
    """Both determinants of an accepted certificate; one whose derivatives cannot be worked out is not judged."""
    try:
        return training.of_step(certificate)
    except (InvalidInput, ZeroDivisionError):
        return Counter({"not judged": 1})


JUDGES = {"training step": of_step, "witness": of_witness}
