"""What a certificate of generic position shows: every pattern is settled again."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.result import Rejected
from proofs.theorems.generic_position import check_generic_position, verdict_of
from proofs.verdict import Verdict


def derive_generic_position(certificate: Mapping[str, Any]) -> Claim:
    """The outcome of every pattern; `check_generic_position` compares every field of the claim and every class.

    Raises:
        Rejected: something does not follow.
    """
    result = check_generic_position(certificate)
    if result.verdict is not Verdict.ACCEPTED:
        raise Rejected(result.reason)
    follows = {
        "schema": SCHEMA, "kind": result.kind, "claim": certificate["claim"], "classes": certificate["classes"],
        "graphs": {length: unlabelled(graph) for length, graph in certificate["graphs"].items()},
    }  # fmt: skip
    claim = certificate["claim"]
    verdict = verdict_of(claim["collisions_proved"], claim["undecided"])
    return Claim(result.kind, verdict, claim["statement"], follows, result.lines, result.reason)
