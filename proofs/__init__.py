"""What is true of the ideal network over the reals; imports no torch."""

from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
from proofs.evidence import SCHEMA, Evidence, Record, read_record
from proofs.verdict import Verdict

__all__ = [
    "SCHEMA",
    "Evidence",
    "InvalidInput",
    "MissingResource",
    "Record",
    "SipitError",
    "Unsupported",
    "Verdict",
    "read_record",
]
