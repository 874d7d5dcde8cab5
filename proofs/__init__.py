"""What is true of the ideal network over the reals; imports no torch."""

from proofs.analyticity import AnalyticityProof, Obstruction, Obstructions, prove_analytic
from proofs.certificate import check
from proofs.checker import CheckResult
from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
from proofs.evidence import SCHEMA, Evidence, Record, read_record
from proofs.graph import Constant, Graph, Node, TensorType
from proofs.interpreter import evaluate
from proofs.verdict import Verdict

__all__ = [
    "SCHEMA",
    "AnalyticityProof",
    "CheckResult",
    "Constant",
    "Evidence",
    "Graph",
    "InvalidInput",
    "MissingResource",
    "Node",
    "Obstruction",
    "Obstructions",
    "Record",
    "SipitError",
    "TensorType",
    "Unsupported",
    "Verdict",
    "check",
    "evaluate",
    "prove_analytic",
    "read_record",
]
