"""Certificates of every kind, changed as somebody would who knows what they mean; what is accepted is judged again."""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from proofs import Graph, Verdict, certify_separation, certify_vocabulary, check, prove_analytic
from proofs.arithmetic.base import Undecided
from proofs.enclosures.distances import decimal_below, separation
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import InvalidInput, Unsupported
from proofs.kernel.branches import Witness
from proofs.kernel.regularity import statement
from proofs.kernel.result import digest
from proofs.kernel.separation import STATEMENT
from proofs.network.folding import unfolded
from proofs.operations import REGISTRY
from proofs.provers.analyticity import Obstructions
from proofs.provers.branches import with_witness, written
from proofs.regularity import DISCONTINUOUS, Regularity
from proofs.theorems.generic_position import examine
from tests.adversary import forged_theorems
from tests.adversary.classes import of_lines, of_witness
from tests.adversary.distances import of_margin, of_separation, weights_of
from tests.adversary.formulas import ENDS, formula
from tests.adversary.networks import VOCABULARY
from tests.adversary.prompts import GENERATORS, network, of_certificate
from tests.proofs.mutating import signed

Certificate = dict[str, Any]
FOUND = ("regularity", "generic position", "separation", "vocabulary")
NAMES = (*FOUND, *forged_theorems.HONEST)
CLASSES = ("constant", "polynomial", "analytic", "C0", "C1", "C2", "C3")


def forged(kind: str, seed: int, changes: int = 4) -> Counter[str]:
    """Several changed copies of one honest certificate."""
    chance = random.Random(f"forged {kind} {seed}")
    try:
        honest, weights = HONEST[kind](seed)
    except (InvalidInput, Undecided, Unsupported):
        return Counter({"nothing to forge": 1})
    found: Counter[str] = Counter()
    for _ in range(changes):
        certificate = copy.deepcopy(honest)
        for _ in range(chance.choice((1, 1, 2))):
            change = chance.choice(CHANGES[kind])
            try:
                change(certificate, chance)
            except (IndexError, KeyError, TypeError, ValueError, AttributeError, InvalidInput):
                continue  # there is nothing of the sort in this one
        certificate = json.loads(json.dumps(certificate))
        if certificate == honest:
            continue
        found["forged"] += 1
        if accepted(certificate, weights):
            found["accepted"] += 1
            found += JUDGES[kind](certificate, weights, seed)
    return found


def accepted(certificate: Certificate, weights: Any) -> bool:
    """Whether the kernel accepts; a certificate of no known kind is not even read."""
    try:
        return check(certificate, weights).verdict in (Verdict.ACCEPTED, Verdict.ACCEPTED_SAMPLED)
    except InvalidInput:
        return False


def _regularity(seed: int) -> tuple[Certificate, Any]:
    proof = prove_analytic(formula(random.Random(f"forged {seed}"), kinks=0.5))
    if isinstance(proof, Obstructions) and seed % 2:
        proof = with_witness(proof, seed=seed)
    certificate = json.loads(json.dumps(proof.to_json()))
    return {**certificate, "graph": unfolded(certificate["graph"])}, None


def _generic(seed: int) -> tuple[Certificate, Any]:
    graphs = network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)
    return examine({n: graphs[n] for n in (1, 2)}, context=2, seed=seed).to_json(), None


def _separation(seed: int) -> tuple[Certificate, Any]:
    graphs = network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)
    weights = weights_of(graphs, random.Random(seed))
    prompts = [(1,), (1, 1), (2, 1), (1, 2), (1, 2)][seed % 2 :]
    return certify_separation([graphs[1], graphs[2]], weights, prompts).to_json(), weights


def _vocabulary(seed: int) -> tuple[Certificate, Any]:
    graph = network(sorted(GENERATORS)[seed % len(GENERATORS)], seed)[2]
    weights = weights_of({2: graph}, random.Random(seed))
    return certify_vocabulary(graph, weights, [1], VOCABULARY).to_json(), weights


HONEST: Mapping[str, Callable[[int], tuple[Certificate, Any]]] = {
    **dict(zip(FOUND, (_regularity, _generic, _separation, _vocabulary), strict=True)),
    **forged_theorems.HONEST,
}
JUDGES: Mapping[str, Callable[[Certificate, Any, int], Counter[str]]] = {**dict(zip(FOUND, (
    lambda certificate, weights, seed: of_lines(certificate, seed) + of_witness(certificate),
    lambda certificate, weights, seed: of_certificate(certificate, seed),
    lambda certificate, weights, seed: of_separation(certificate, weights),
    lambda certificate, weights, seed: of_margin(certificate, weights),
), strict=True)), **forged_theorems.JUDGES}  # fmt: skip


def _node(c: Certificate, r: random.Random) -> None:
    """Another operation, argument, attribute or constant; the digest fits, the lines stay."""
    graph = c["graph"]
    row = r.choice(graph["nodes"])
    match r.choice(("operation", "argument", "attributes", "constant")):
        case "operation":
            row[0] = r.choice([*REGISTRY, row[0]])
        case "argument":
            row[1][r.randrange(len(row[1]))] = r.randrange(graph["nodes"].index(row))
        case "attributes":
            row[2] = r.randrange(len(graph["attributes"]))
        case _:
            values = r.choice(graph["constants"])["values"]
            values[r.randrange(len(values))] = r.choice([0, 1, "1/3", "-inf", "inf"])
    _resign(c)


def _proved_anew(c: Certificate, r: random.Random) -> None:
    """A changed graph with lines that follow of it, as far as the prover goes, and the old witness."""
    _node(c, r)
    proof = prove_analytic(Graph.from_json(c["graph"])).to_json()
    c.update({name: proof[name] for name in ("facts", "lines", "obstructions")})
    c["claim"]["regularity"] = proof["claim"]["regularity"]
    _resign(c)


def _line(c: Certificate, r: random.Random) -> None:
    """A better class, a narrower or stricter bound."""
    fact = r.choice(c["facts"])
    place = r.randrange(5)
    fact[place] = (
        r.choice(CLASSES) if place == 0 else r.choice([str(e) for e in ENDS]) if place % 2 else not fact[place]
    )


def _class(c: Certificate, r: random.Random) -> None:
    c["claim"]["regularity"] = r.choice((*CLASSES, str(DISCONTINUOUS)))
    _resign(c)


def _witness(c: Certificate, r: random.Random) -> None:
    """Other points, another segment, another choice; or a witness where there was none."""
    default = written(Witness("not analytic", (0, 1), (Fraction(0), Fraction(1)), (1, 2), -1, "0.0001"))
    default["subject"] = "this graph"
    witness = c["witness"] = dict(c["witness"] or default)
    match r.choice(("seeds", "segment", "claim", "choice", "separation", "largest", "tokens")):
        case "seeds":
            witness["seeds"] = [r.randrange(99), r.randrange(99)]
        case "segment":
            ends = sorted(r.sample([Fraction(i, 2**k) for k in (1, 3, 40) for i in range(2**3 if k > 2 else 3)], 2))
            witness["segment"] = [str(end) for end in ends]
        case "claim":
            witness["claim"], witness["choice"] = "discontinuous", r.randrange(3)
        case "choice":
            witness["choice"] = r.randrange(4)
        case "separation":
            witness["separation"] = r.choice(("1e-30", "0.1", "3"))
        case "largest":
            witness["largest"] = r.choice((0, 4, 16, 20))
        case _:
            witness["tokens"] = [r.randrange(3), r.randrange(3)]
    if witness["claim"] == str(DISCONTINUOUS) and c["claim"]["regularity"] == "unproved":
        c["claim"]["regularity"] = str(DISCONTINUOUS)
    _resign(c)


def _resign(c: Certificate) -> None:
    c["claim"]["graph"] = digest(c["graph"])
    c["claim"]["witness"] = None if c["witness"] is None else digest(c["witness"])
    regularity = Regularity.parse(c["claim"]["regularity"])
    if regularity is not None:
        c["claim"]["statement"] = statement(Graph.from_json(c["graph"]), regularity, c["witness"])


def _outcome(c: Certificate, r: random.Random) -> None:
    """Another outcome of a pattern, or that of another pattern, and the counts to fit."""
    one, other = r.sample(c["classes"], 2)
    one[2] = r.choice((other[2], "undecided", f"differ: point {r.randrange(9)}", "collide: equal states"))
    _recount(c)


def _swapped(c: Certificate, r: random.Random) -> None:
    """The graph of one length stands for another, or a node in it is another one."""
    graph = c["graphs"][r.choice(sorted(c["graphs"]))] = unfolded(r.choice(list(c["graphs"].values())))
    row = r.choice(graph["nodes"])
    if r.random() < 0.5:
        row[1][r.randrange(len(row[1]))] = r.randrange(graph["nodes"].index(row))
    elif graph["constants"]:
        values = r.choice(graph["constants"])["values"]
        values[r.randrange(len(values))] = r.choice([0, 1, -1])
    _recount(c)


def _zeroed(c: Certificate, r: random.Random) -> None:
    names = [name for name, _ in Graph.from_json(c["graphs"]["1"]).parameters()]
    c["claim"]["zeroed"] = r.sample(names, 1)
    c["claim"]["regularity"] = r.choice(("branches", "analytic", c["claim"]["regularity"]))


def _recount(c: Certificate) -> None:
    counts = Counter(outcome.partition(":")[0] for *_, outcome in c["classes"])
    claim, old = c["claim"], c["claim"]["statement"]
    claim.update(certified=counts["differ"], collisions_proved=counts["collide"], undecided=counts["undecided"])
    head = old[: old.index("tokens,") + len("tokens")]
    claim["statement"] = (
        f"{head}, {counts['differ']} differ for almost every parameter, {counts['collide']} collide for every one, "
        f"and {counts['undecided']} are undecided, for every vocabulary."
    )
    claim["graphs"] = digest(c["graphs"])


def _radius(c: Certificate, r: random.Random) -> None:
    """Narrower enclosures, or moved ones, and all that follows of them."""
    row = r.choice(c["prompts"])
    box = row["enclosures"][-1]
    place = r.randrange(len(box["radius"]))
    box["radius"][place] = int(
        box["radius"][place] * r.choice((Fraction(9, 10), Fraction(1, 2), Fraction(2), Fraction(0)))
    )
    _bounds(c)


def _tokens(c: Certificate, r: random.Random) -> None:
    row = r.choice(c["prompts"])
    row["token_ids"][r.randrange(len(row["token_ids"]))] = r.randrange(VOCABULARY)
    _bounds(c)


def _pairs(c: Certificate, r: random.Random) -> None:
    """A pair is called equal, or is not any more."""
    if c["identical"] and r.random() < 0.4:
        c["identical"].pop(r.randrange(len(c["identical"])))
    else:
        first, second = sorted(r.sample(range(len(c["prompts"])), 2))
        family = r.choice(
            ("same prompt", "equal embedding rows", "repeated tokens", "permuted prefixes", "equal states")
        )
        c["identical"].append({"first": first, "second": second, "family": family})
        c["identical"].sort(key=lambda pair: (pair["first"], pair["second"]))
    _bounds(c)


def _bounds(c: Certificate) -> None:
    """The claim that follows of the enclosures as they stand."""
    width = Graph.from_json(c["graphs"][0]).nodes[-1].type.shape[-1]
    states = [Enclosure.from_json(row["enclosures"][-1], 1, width) for row in c["prompts"]]
    found = separation(states, {(pair["first"], pair["second"]) for pair in c["identical"]})
    least = None if found.minimum is None else decimal_below(found.minimum)
    named, left = len(c["identical"]), len(found.unresolved)
    c["unresolved"] = [list(pair) for pair in found.unresolved]
    c["claim"].update(
        minimum_lower_bound=least, certified=c["claim"]["pairs"] - named - left,
        closest=None if found.closest is None else list(found.closest), statement=STATEMENT.format(
            prompts=len(states), layer=c["layer"], minimum=least or "(no pair)", named=named, open=left),
    )  # fmt: skip
    c.update(signed(c))


def _more(c: Certificate, r: random.Random) -> None:
    """A larger bound, in the claim and in the sentence."""
    old = c["claim"]["minimum_lower_bound"]
    new = decimal_below(Fraction(old) * r.choice((Fraction(2), Fraction(1001, 1000), Fraction(1, 2))))
    c["claim"].update(minimum_lower_bound=new, statement=c["claim"]["statement"].replace(old, new))
    c.update(signed(c))


def _enclosures(c: Certificate, r: random.Random) -> None:
    """Another radius, or another bound of the pairs that are not done exactly."""
    name = r.choice(("largest_radius", "others_at_least"))
    c["enclosures"][name] = repr(float(c["enclosures"][name]) * r.choice((0.5, 0.999, 1.001, 2)))
    c.update(signed(c))


def _counts(c: Certificate, r: random.Random) -> None:
    claim = c["claim"]
    named, left = r.randrange(4), r.randrange(4)
    claim["certified"] = claim["pairs"] - named - left
    c["duplicates"] = r.choice(([], c["duplicates"], [[1, 2]], [[0, 1, 2]]))
    c.update(signed(c))


def _fewer(c: Certificate, r: random.Random) -> None:
    """The margin of fewer tokens, with the certificate of all."""
    c["tokens"] = r.randrange(2, VOCABULARY)
    c["claim"]["pairs"] = c["tokens"] * (c["tokens"] - 1) // 2
    c.update(signed(c))


CHANGES: Mapping[str, tuple[Callable[[Certificate, random.Random], None], ...]] = {**dict(zip(FOUND, (
    (_node, _proved_anew, _proved_anew, _line, _class, _witness, _witness),
    (_outcome, _outcome, _swapped, _zeroed),
    (_radius, _tokens, _pairs, _more),
    (_more, _enclosures, _counts, _fewer),
), strict=True)), **forged_theorems.CHANGES}  # fmt: skip
