"""Re-checking the certificate in a record, without torch: the work behind `sipit verify`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.evidence import Record, read_record
from proofs.kernel.door import check
from proofs.kernel.result import CheckResult
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.vocabulary import KIND as VOCABULARY
from proofs.processes import processors
from proofs.verdict import Verdict
from sipit.weight_files import find


def verify_record(
    file: str | Path, *, weights: Any = None, model: str | None = None, steps: int | None = None
) -> Record:
    """Re-checks `result.certificate` of a record, whatever verdict the record states.

    Args:
        file: a record written with -o FILE.json.
        weights: parameters by name, where the certificate is about particular ones.
        model: where those are, if no weights are given; None to find them by their digest.
        steps: how many steps of a separation certificate, or tokens of a vocabulary margin, to evaluate again in Arb;
            None for all of the former, 64 of the latter.

    Raises:
        InvalidInput: no such file, not a record, or a record without a certificate.
    """
    began = time.perf_counter()
    record = read_record(Path(file))
    certificate = record.result.get("certificate")
    if certificate is None:
        raise InvalidInput(
            f"Expected a record with a certificate, but {file} ({record.command}) has none; "
            "write one with sipit check or sipit certify and -o FILE.json."
        )
    if steps is not None and steps < 1:
        raise InvalidInput(f"Expected at least one step to check, but got --steps {steps}; leave it out for all.")
    if weights is None and isinstance(certificate, Mapping) and certificate.get("kind") in (SEPARATION, VOCABULARY):
        weights = find(certificate, model)
    outcome = check(certificate, weights, steps=steps, workers=processors())
    if outcome.verdict is Verdict.ACCEPTED and record.command == "certify":
        outcome = _certified_as_stated(record.result, certificate, outcome)
    if outcome.verdict is Verdict.ACCEPTED and record.command == "check":
        outcome = _same_as_stated(record.result, certificate, outcome)
    result = {**outcome.to_json(), "of": record.command, "claim": certificate.get("claim")}
    return Record("verify", outcome.verdict, result, {"file": str(file)}, time.perf_counter() - began)


def _same_as_stated(result: Mapping[str, Any], certificate: Mapping[str, Any], outcome: CheckResult) -> CheckResult:
    """Rejected where the record states something else beside its certificate than the certificate proves."""
    proved = {"regularity": certificate["claim"]["regularity"]}
    if "structural_collisions" in outcome.covers:
        proved["structural_collisions"] = certificate["structural_collisions"]
    names = ("operation", "module", "source", "regularity", "reason")
    proved["obstructions"] = [{name: entry.get(name) for name in names} for entry in certificate["obstructions"]]
    for name, value in proved.items():
        if result.get(name) != value:
            reason = f"the record states another {name} than its certificate proves"
            return CheckResult(Verdict.REJECTED, reason, outcome.kind, outcome.lines)
    return outcome


def _certified_as_stated(
    result: Mapping[str, Any], certificate: Mapping[str, Any], outcome: CheckResult
) -> CheckResult:
    """Rejected where the record states other numbers than its certificate proves."""
    claim = certificate["claim"]
    proved = {name: claim[name] for name in ("pairs", "certified", "minimum_lower_bound", "statement")}
    proved |= {name: certificate[name] for name in ("bits", "layer")}
    if certificate["kind"] == VOCABULARY:
        proved |= {name: certificate[name] for name in ("prefix", "tokens", "duplicates")}
        proved |= {name: certificate["enclosures"][name] for name in ("others_at_least", "largest_radius")}
        proved["closest"] = claim["closest"]
    else:
        proved["prompts"] = [row["token_ids"] for row in certificate["prompts"]]
    for name, value in proved.items():
        if result.get(name) != value:
            reason = f"the record states another {name} than its certificate proves"
            return CheckResult(Verdict.REJECTED, reason, outcome.kind, outcome.lines)
    return outcome
