"""What a certificate is, and the one door through which any kind of it is re-checked.

A certificate is a JSON object with a `schema` and a `kind`. The kernel of its kind derives what it shows, as a `Claim`,
and the certificate is accepted where it holds exactly that; a kernel is given weights where the claim is about
particular ones.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proofs.arguments import number, of_kind, seed_of, shown, whole
from proofs.arithmetic.surds import TooLong, at_most
from proofs.errors import InvalidInput, SipitError
from proofs.evidence import SCHEMA
from proofs.kernel.branches import recheck
from proofs.kernel.claim import Claim, expect, unlabelled
from proofs.kernel.collisions import find_collisions
from proofs.kernel.generic_position import derive_generic_position
from proofs.kernel.lengths import graphs_of
from proofs.kernel.price import TooLarge, afford
from proofs.kernel.regularity import derive_regularity
from proofs.kernel.result import Rejected
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.separation import derive_separation
from proofs.kernel.value_numbering.table import LARGEST_TABLE, TooMany
from proofs.kernel.vocabulary import KIND as VOCABULARY
from proofs.kernel.vocabulary import derive_vocabulary
from proofs.kernel.wellformed import known_are_well_formed
from proofs.kernel.witness import derive_witness
from proofs.network.graph import Graph
from proofs.verdict import Verdict

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)

Kernel = Callable[[Mapping[str, Any], Any], Claim]
SHORTEST = 2  # tokens of a prompt that stands beside the one that the claim is about
OF_WEIGHTS = (SEPARATION, VOCABULARY)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Accepted with the claim that was derived, or rejected with the reason."""

    verdict: Verdict
    reason: str
    kind: str
    lines: int
    claim: Claim | None = None


def check(
    certificate: Any,
    weights: Any = None,
    *,
    steps: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    limit: float = 1.0,
) -> CheckResult:
    """Re-checks a certificate, or anything with `to_json()` that gives one: derives its claim, and compares.

    Args:
        certificate: the JSON object, or the proof object itself.
        weights: parameters by name, for claims about particular weights.
        steps: how many steps of a separation certificate to evaluate again (None: all), or of how many tokens of a
            vocabulary margin to confirm the states in Arb (None: 64).
        seed: draws them; None for a fresh one. The file has no say in it.
        workers: processes that share the work on a vocabulary margin, where the system can fork.
        limit: how many times dearer than usual a certificate may be (`proofs.kernel.price`).

    Returns:
        `.verdict` accepted, accepted_sampled or rejected, or undecided where it is too large to check; `.reason` why,
        `.kind`, `.lines` checked, and `.claim`, what was derived (None where it is not accepted).

    Raises:
        InvalidInput: not a certificate of a known kind, one of another version, or no weights where they are needed.
    """
    if weights is not None:
        of_kind("weights by name", weights, Mapping, "name them with --model")
    steps = None if steps is None else whole("steps", steps, least=1)
    seed, workers = None if seed is None else seed_of(seed), whole("workers", workers, least=1)
    paid = number(limit)
    if paid is None:
        raise InvalidInput(f"Expected a number for the limit, but got {shown(limit)}; the usual one is 1.")
    data = certificate.to_json() if hasattr(certificate, "to_json") else certificate
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in KERNELS:
        raise InvalidInput(f"Expected a certificate of kind {', '.join(KERNELS)}, but got {kind!r}; name another file.")
    if data.get("schema") != SCHEMA:
        raise InvalidInput(
            f"Expected a certificate of schema {SCHEMA!r}, but got one of another version; make it again."
        )
    if kind in OF_WEIGHTS and weights is None:
        raise InvalidInput("Expected the weights that the certificate is about, but got none; name them with --model.")
    drawn = random.SystemRandom().getrandbits(32) if seed is None else seed
    try:
        with at_most(afford(data, kind, paid)):
            if kind == SEPARATION:
                claim = derive_separation(data, weights, steps, drawn)
            elif kind == VOCABULARY:
                claim = derive_vocabulary(data, weights, steps, drawn, workers)
            else:
                claim = KERNELS[kind](data, weights)
        expect(data, claim.certificate, "the certificate")
    except (TooLarge, TooLong) as fault:
        return CheckResult(Verdict.UNDECIDED, f"too large to check: {fault}", kind, 0)
    except TooMany:
        reason = f"too large to check: its different values need more than {LARGEST_TABLE} entries"
        return CheckResult(Verdict.UNDECIDED, reason, kind, 0)
    except (Rejected, SipitError) as fault:
        return CheckResult(Verdict.REJECTED, str(fault), kind, 0)
    except DAMAGE as fault:  # a kernel stumbled over what no honest certificate holds, and nothing is accepted
        return CheckResult(Verdict.REJECTED, f"the certificate is damaged ({type(fault).__name__})", kind, 0)
    verdict = Verdict.ACCEPTED if claim.sample is None else Verdict.ACCEPTED_SAMPLED
    return CheckResult(verdict, claim.reason, kind, claim.lines, claim)


def _regularity(certificate: Mapping[str, Any], weights: Any) -> Claim:
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
    named = "; ".join(f"{family['family']}: {family['statement']}" for family in found)
    return replace(
        claim,
        verdict=Verdict.REFUTED if found else claim.verdict,
        sentence=f"{claim.sentence} Prompts that collide for every parameter: {named or 'no family is derived.'}",
        certificate={
            **claim.certificate,
            "structural_collisions": found,
            "other_lengths": {length: unlabelled(graph) for length, graph in certificate["other_lengths"].items()},
        },
        reason=f"{claim.reason}, every structural collision is shown again",
    )


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
    return find_collisions(graphs)


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


def _training_step(certificate: Mapping[str, Any], weights: Any) -> Claim:
    """Loaded when it is asked for: it alone needs sympy, which takes as long to load as a large proof to check."""
    from proofs.kernel.training_step import derive_training_step

    return derive_training_step(certificate)


KERNELS: dict[str, Kernel] = {
    "regularity": _regularity,
    "witness": lambda certificate, weights: derive_witness(certificate),
    "training-step": _training_step,
    "generic-position": lambda certificate, weights: derive_generic_position(certificate),
    SEPARATION: derive_separation,
    VOCABULARY: derive_vocabulary,
}
