"""Re-checking the certificate in a record, without torch: the work behind `sipit verify`."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proofs.door import check
from proofs.errors import InvalidInput
from proofs.evidence import Record, read_json
from proofs.kernel.claim import divided, expect
from proofs.kernel.door import DAMAGE, OF_WEIGHTS, CheckResult
from proofs.kernel.result import Rejected
from proofs.processes import processors
from proofs.verdict import Verdict
from sipit.claims.fields import stated
from sipit.claims.number_systems import checked_in
from sipit.claims.paths import by_leaf
from sipit.claims.weights import find
from sipit.record import origin, versions_of_the_checker


def verify_record(
    file: str | Path,
    *,
    weights: Any = None,
    model: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    limit: float = 1.0,
) -> Record:
    """Derives what the certificate in a record shows, and compares every field of the record with it.

    Args:
        file: a record written with -o FILE.json.
        weights: parameters by name, where the certificate is about particular ones.
        model: where those are, if no weights are given; None to find them by their digest.
        steps: how many steps of a separation certificate to evaluate again, or of how many tokens of a vocabulary
            margin to confirm the states in Arb; None for all of the former, 64 of the latter.
        seed: draws these; None for a fresh one, which the record names.
        limit: how many times dearer than the default a certificate may be.

    Raises:
        InvalidInput: no such file, not a record, or a record without a certificate.
    """
    began = time.perf_counter()
    data = read_json(Path(file))
    record = Record.from_json(data)
    certificate = record.result.get("certificate")
    if certificate is None:
        raise InvalidInput(
            f"Expected a record with a certificate, but {file} ({record.command}) has none; "
            "write one with sipit check or sipit certify and -o FILE.json."
        )
    if steps is not None and steps < 1:
        raise InvalidInput(f"Expected at least one step to check, but got --steps {steps}; leave it out for all.")
    if not 0 < limit < math.inf:
        raise InvalidInput(f"Expected a positive factor, but got --limit {limit}; leave it out for the default.")
    if weights is None and isinstance(certificate, Mapping) and certificate.get("kind") in OF_WEIGHTS:
        weights = find(certificate, model, record.provenance)
    outcome = check(certificate, weights, steps=steps, seed=seed, workers=processors(), limit=limit)
    outcome, *paths = _compared(data, outcome)
    derived, other = by_leaf(data, *paths)
    claim = outcome.claim
    sampled = claim and (claim.sample or claim.second_opinion)
    rests = claim is not None and claim.sample is not None
    result = {
        "claim": claim and claim.sentence,
        "verdict": claim and claim.verdict.value,
        "facts": claim and claim.certificate["claim"],
        "about": claim and _subject(claim.certificate),
        "reason": outcome.reason,
        "of": record.command,
        "kind": outcome.kind,
        "lines": outcome.lines,
        "sampled": sampled and {**sampled.to_json(), "claim_rests_on_it": rests},
        "derived": derived,
        "not_vouched_for": other,
    }
    # What is too large is answered before anything is computed.
    ran = None if outcome.verdict is Verdict.UNDECIDED else checked_in(certificate)
    where = origin(file=str(file), seed=sampled and sampled.seed, arithmetic=ran, versions=versions_of_the_checker())
    return Record("verify", outcome.verdict, result, where, time.perf_counter() - began)


def _subject(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Which networks the claim is of: the sha256 of all that its sentence speaks of, as the claim names them.

    A graph, or those of several lengths; those for other lengths, on which collisions rest; a witness, where it is on
    a graph of its own; and the weights. None is what the sentence does not speak of.
    """
    claim, witness = certificate["claim"], certificate.get("witness") or {}
    return {
        "graphs": claim.get("graphs", claim.get("graph")),
        "other_lengths": claim.get("other_lengths"),
        "witness": claim["witness"] if "graph" in witness else None,
        "weights": certificate.get("weights", {}).get("sha256"),
    }


def _compared(record: Mapping[str, Any], outcome: CheckResult) -> tuple[CheckResult, list[str], list[str]]:
    """The outcome, rejected where a field does not follow; the paths of what was derived, and of what was not."""
    if outcome.claim is None:
        return outcome, [], list(record)
    try:
        follows, agrees = stated(record, outcome.claim)
        expect(record, follows, "the record")
        expect(record, agrees, "the record")
    except (Rejected, *DAMAGE) as fault:
        reason = str(fault) if isinstance(fault, Rejected) else f"the record is damaged ({type(fault).__name__})"
        return replace(outcome, verdict=Verdict.REJECTED, reason=reason, claim=None), [], list(record)
    return outcome, *divided(record, follows, "")
