"""How a certificate is re-checked: its price, what its kernel derives, and whether it holds exactly that.

A certificate is a JSON object with a `schema` and a `kind`. The kernel of its kind derives what it shows, as a `Claim`,
and the certificate is accepted where it holds exactly that; a kernel is given weights where the claim is about
particular ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proofs.errors import InvalidInput, SipitError
from proofs.evidence import SCHEMA
from proofs.kernel.branches import recheck
from proofs.kernel.claim import Claim, expect, unlabelled
from proofs.kernel.collisions import find_collisions
from proofs.kernel.generic_position import derive_generic_position
from proofs.kernel.lengths import graphs_of
from proofs.kernel.patterns import constants_are_known, rows_are_free
from proofs.kernel.price import More, TooLarge, afford, nothing_more
from proofs.kernel.regularity import derive_regularity
from proofs.kernel.result import Rejected, digest
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.separation import derive_separation
from proofs.kernel.value_numbering.table import LARGEST_TABLE, TooMany
from proofs.kernel.vocabulary import KIND as VOCABULARY
from proofs.kernel.vocabulary import derive_vocabulary
from proofs.kernel.wellformed import known_are_well_formed
from proofs.network.graph import Graph
from proofs.verdict import Verdict

DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
SHORTEST = 2  # tokens of a prompt that stands beside the one that the claim is about
OF_WEIGHTS = (SEPARATION, VOCABULARY)


@dataclass(frozen=True, slots=True)
class Given:
    """What a kernel is given beside the file, by whoever verifies it.

    Attributes:
        weights: parameters by name, for claims about particular weights.
        steps: how many steps to draw; None for all of them, or for what is usual.
        seed: draws them.
        workers: processes that may share the work.
        limit: how many times dearer than usual a certificate may be.
        left: what may still be spent of it, in the unit of its price.
    """

    weights: Any
    steps: int | None
    seed: int
    workers: int
    limit: float
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How certificates of one kind are re-checked: what they show, and what that costs beside their graphs."""

    derive: Callable[[Mapping[str, Any], Given], Claim]
    price: More = nothing_more


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Accepted with the claim that was derived, or rejected or left undecided with the reason."""

    verdict: Verdict
    reason: str
    kind: str
    lines: int
    claim: Claim | None = None


def check_as(kinds: Mapping[str, Kind], data: Any, given: Given) -> CheckResult:
    """Re-checks a certificate of one of several kinds: derives its claim, and compares.

    Raises:
        InvalidInput: not a certificate of such a kind, one of another version, or no weights where they are needed.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidInput(f"Expected a certificate of kind {', '.join(kinds)}, but got {kind!r}; name another file.")
    if data.get("schema") != SCHEMA:
        raise InvalidInput(
            f"Expected a certificate of schema {SCHEMA!r}, but got one of another version; make it again."
        )
    if kind in OF_WEIGHTS and given.weights is None:
        raise InvalidInput("Expected the weights that the certificate is about, but got none; pass them by name.")
    try:
        left = afford(data, kind, given.limit, kinds[kind].price)
        claim = kinds[kind].derive(data, replace(given, left=left))
        expect(data, claim.certificate, "the certificate")
    except TooLarge as fault:
        return CheckResult(Verdict.UNDECIDED, f"too large to check: {fault}", kind, 0)
    except TooMany:
        reason = f"too large to check: its different values need more than {LARGEST_TABLE} entries"
        return CheckResult(Verdict.UNDECIDED, reason, kind, 0)
    except MemoryError:  # an honest certificate may need more than this machine has
        return CheckResult(Verdict.UNDECIDED, "too large to check here: memory has run out", kind, 0)
    except (Rejected, SipitError) as fault:
        return CheckResult(Verdict.REJECTED, str(fault), kind, 0)
    except DAMAGE as fault:  # a kernel stumbled over what no honest certificate holds, and nothing is accepted
        return CheckResult(Verdict.REJECTED, f"the certificate is damaged ({type(fault).__name__})", kind, 0)
    verdict = Verdict.ACCEPTED if claim.sample is None else Verdict.ACCEPTED_SAMPLED
    return CheckResult(verdict, claim.reason, kind, claim.lines, claim)


def _regularity(certificate: Mapping[str, Any]) -> Claim:
    """The proof line by line, then the witness and the structural collisions, if it has them."""
    claim = derive_regularity(certificate)
    if certificate.get("witness") is not None:
        try:
            _witness(certificate)
        except (InvalidInput, Rejected) as fault:
            raise Rejected(f"witness: {fault}") from None
        claim = replace(claim, reason=f"{claim.reason}, the witness shows what it claims")
    if "structural_collisions" not in certificate:
        return claim
    if certificate["structural_collisions"] is None:
        return _left_open(claim)
    try:
        found = _structural(certificate)
    except (InvalidInput, Rejected) as fault:
        raise Rejected(f"structural collisions: {fault}") from None
    others = certificate["other_lengths"]
    stands = {**claim.certificate["claim"], "other_lengths": digest(others)}  # a family rests on every one of them
    named = "; ".join(f"{family['family']}: {family['statement']}" for family in found)
    lengths = ", ".join(map(str, sorted(graphs_of(certificate))))
    none = "no family is derived, and of longer prompts nothing is claimed."
    return replace(
        claim,
        verdict=Verdict.REFUTED if found else claim.verdict,
        sentence=f"{claim.sentence} Prompts that collide for every parameter, in the networks that the file gives for "
        f"{lengths} tokens: {named or none}",
        certificate={
            **claim.certificate, "structural_collisions": found, "claim": stands,
            "other_lengths": {length: unlabelled(graph) for length, graph in others.items()},
        },
        reason=f"{claim.reason}, every structural collision is shown again",
    )  # fmt: skip


def _left_open(claim: Claim) -> Claim:
    """Where a certificate says that collisions are undecided, nothing is claimed of them."""
    return replace(
        claim,
        verdict=claim.verdict if claim.verdict is Verdict.REFUTED else Verdict.UNDECIDED,
        sentence=f"{claim.sentence} Whether prompts collide for every parameter is undecided.",
        certificate={**claim.certificate, "structural_collisions": None},
    )


def _structural(certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every pair of prompts that has one state, among those that are looked at, on the graphs of its own lengths."""
    graphs = graphs_of(certificate)
    if SHORTEST not in graphs:
        raise Rejected(f"without the network for {SHORTEST} tokens it is not seen whether repeated tokens collide")
    found = find_collisions(graphs)
    if not found and not all(map(constants_are_known, graphs.values())):
        raise Rejected("entries of constants are not known: whether certain prompts collide is to be left open")
    if not found and not rows_are_free(*graphs.values()):
        raise Rejected("tokens are read by more than tables of rows: whether certain ones collide is to be left open")
    return found


def _witness(certificate: Mapping[str, Any]) -> None:
    witness = certificate["witness"]
    claim = certificate["claim"]["regularity"]
    if claim == "discontinuous" and witness.get("claim") != "discontinuous":
        raise Rejected("a jump is claimed, but the witness shows none")
    if not certificate["obstructions"]:
        raise Rejected("a witness against analyticity stands beside a proof of it")
    graph = known_are_well_formed(Graph.from_json(witness.get("graph", certificate["graph"])))
    subject = witness.get("subject")
    if not isinstance(subject, str) or (subject == "this graph") != ("graph" not in witness):
        raise Rejected("the witness is about another graph than it says")
    architecture = graph.about.get("architecture")
    if "graph" in witness and (not architecture or architecture != certificate["graph"]["about"].get("architecture")):
        raise Rejected("it is about another architecture")
    if not recheck(graph, witness):
        raise Rejected("re-evaluated, it does not show what it claims")


KINDS: dict[str, Kind] = {
    "regularity": Kind(lambda certificate, given: _regularity(certificate)),
    "generic-position": Kind(lambda certificate, given: derive_generic_position(certificate)),
    SEPARATION: Kind(lambda certificate, given: derive_separation(certificate, given.weights, given.steps, given.seed)),
    VOCABULARY: Kind(
        lambda certificate, given: derive_vocabulary(certificate, given.weights, given.steps, given.seed, given.workers)
    ),
}
