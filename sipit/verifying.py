"""Re-checking the certificate in a record, without torch: the work behind `sipit verify`."""

import time
from pathlib import Path
from typing import Any

from proofs.certificate import check
from proofs.errors import InvalidInput
from proofs.evidence import Record, read_record


def verify_record(file: str | Path, *, weights: Any = None) -> Record:
    """Re-checks `result.certificate` of a record, whatever verdict the record states.

    Args:
        file: a record written with -o FILE.json.
        weights: parameters by name, where the certificate is about particular ones.

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
    outcome = check(certificate, weights)
    result = {**outcome.to_json(), "of": record.command, "claim": certificate.get("claim")}
    return Record("verify", outcome.verdict, result, {"file": str(file)}, time.perf_counter() - began)
