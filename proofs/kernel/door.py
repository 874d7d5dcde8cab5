"""What a certificate is, and the one door through which any kind of it is re-checked.

A certificate is a JSON object with a `kind`. Each kind has its own kernel, which re-derives everything and believes
nothing in the file; a kernel is given weights where the claim is about particular ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

from proofs.errors import InvalidInput
from proofs.kernel.branches import recheck
from proofs.kernel.price import TooLarge, afford
from proofs.kernel.regularity import check_regularity
from proofs.kernel.result import CheckResult, Rejected, same
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.separation import check_separation
from proofs.kernel.vocabulary import KIND as VOCABULARY
from proofs.kernel.vocabulary import check_vocabulary
from proofs.kernel.wellformed import known_are_well_formed
from proofs.kernel.witness import check_witness
from proofs.network.graph import Graph
from proofs.structure.collisions import collisions
from proofs.theorems.generic_position import check_generic_position
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

Kernel = Callable[[Mapping[str, Any], Any], CheckResult]


def check(
    certificate: Any, weights: Any = None, *, steps: int | None = None, workers: int = 1, limit: float = 1.0
) -> CheckResult:
    """Re-checks a certificate, or anything with `to_json()` that gives one.

    Args:
        certificate: the JSON object, or the proof object itself.
        weights: parameters by name, for claims about particular weights.
        steps: how many steps of a separation certificate to evaluate again (None: all), or of how many tokens of a
            vocabulary margin to confirm the states in Arb (None: 64).
        workers: processes that share the work on a vocabulary margin, where the system can fork.
        limit: how many times the usual work to allow (`proofs.kernel.price`).

    Returns:
        `.verdict` accepted or rejected, or undecided where it is too large to check; `.reason` why, `.kind`, and
        `.lines` checked.

    Raises:
        InvalidInput: not a certificate of a known kind.
    """
    data = certificate.to_json() if hasattr(certificate, "to_json") else certificate
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in KERNELS:
        raise InvalidInput(f"Expected a certificate of kind {', '.join(KERNELS)}, but got {kind!r}; name another file.")
    try:
        afford(data, kind, limit)
        if kind == SEPARATION:
            return check_separation(data, weights, steps)
        if kind == VOCABULARY:
            return check_vocabulary(data, weights, steps, workers)
        return KERNELS[kind](data, weights)
    except InvalidInput:
        raise
    except TooLarge as fault:
        return CheckResult(Verdict.UNDECIDED, str(fault), kind, 0)
    except DAMAGE as fault:  # a kernel stumbled over what no honest certificate holds, and nothing is accepted
        return CheckResult(Verdict.REJECTED, f"the certificate is damaged ({type(fault).__name__})", kind, 0)


def _regularity(certificate: Mapping[str, Any], weights: Any) -> CheckResult:
    """The proof line by line, then the witness and the structural collisions, if it has them."""
    result = check_regularity(certificate)
    if result.verdict is not Verdict.ACCEPTED:
        return result
    reasons, covers = [result.reason], list(result.covers)
    for name, recheck_part, reason in (
        ("witness", _witness, "the witness shows what it claims"),
        ("structural_collisions", _structural, "the structural collisions are those of the graph"),
    ):
        if certificate.get(name) is None:
            continue
        try:
            recheck_part(certificate)
        except (InvalidInput, Rejected) as fault:
            return CheckResult(Verdict.REJECTED, f"{name.replace('_', ' ')}: {fault}", result.kind, result.lines)
        reasons.append(reason)
        covers.append(name)
    return CheckResult(Verdict.ACCEPTED, ", ".join(reasons), result.kind, result.lines, tuple(covers))


def _structural(certificate: Mapping[str, Any]) -> None:
    """The families are derived anew from the graph, by the one analysis there is of them."""
    graph = known_are_well_formed(Graph.from_json(certificate["graph"]))
    found = [family.to_json() for family in collisions(graph)]
    if not same(certificate["structural_collisions"], found):
        names = ", ".join(family["family"] for family in found) or "none"
        raise Rejected(f"they are not those that follow from the graph, which are: {names}")


def _witness(certificate: Mapping[str, Any]) -> None:
    witness = certificate["witness"]
    if not isinstance(witness, Mapping):
        raise Rejected("the witness is not an object")
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


def _training_step(certificate: Mapping[str, Any], weights: Any) -> CheckResult:
    """Loaded when it is asked for: it alone needs sympy, which takes as long to load as a large proof to check."""
    from proofs.kernel.training_step import check_training_step

    return check_training_step(certificate, weights)


KERNELS: dict[str, Kernel] = {
    "regularity": _regularity,
    "witness": check_witness,
    "training-step": _training_step,
    "generic-position": check_generic_position,
    SEPARATION: check_separation,
    VOCABULARY: check_vocabulary,
}
