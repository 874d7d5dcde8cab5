"""What a certificate of generic position shows: every pattern is settled again."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.result import Rejected, digest, same
from proofs.theorems.generic_position import check_generic_position, verdict_of
from proofs.verdict import Verdict

HINTS = ("silenced",)  # parameters that lift the last block where they are zero; others might do as well


def derive_generic_position(certificate: Mapping[str, Any]) -> Claim:
    """The outcome of every pattern; `check_generic_position` compares every field of the claim and every class.

    Raises:
        Rejected: something does not follow.
    """
    result = check_generic_position(certificate)
    if result.verdict is not Verdict.ACCEPTED:
        raise Rejected(result.reason)
    if not same(certificate["claim"]["graphs"], digest(certificate["graphs"])):
        raise Rejected("the graphs are not those that the claim names by their digest")
    follows = {
        "schema": SCHEMA, "kind": result.kind, "classes": certificate["classes"],
        "claim": {name: value for name, value in certificate["claim"].items() if name not in HINTS},
        "graphs": {length: unlabelled(graph) for length, graph in certificate["graphs"].items()},
    }  # fmt: skip
    claim = certificate["claim"]
    verdict = verdict_of(claim["collisions_proved"], claim["undecided"])
    return Claim(result.kind, verdict, claim["statement"], follows, result.lines, result.reason)
