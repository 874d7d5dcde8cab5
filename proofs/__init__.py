"""What is true of the ideal network over the reals; imports no torch.

Names are loaded when they are used, so that a command that only needs an error or a record does not wait for Arb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proofs.analyticity import AnalyticityProof, Obstruction, Obstructions, prove_analytic
    from proofs.certificate import check
    from proofs.checker import CheckResult
    from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
    from proofs.evidence import SCHEMA, Evidence, Record, read_record
    from proofs.graph import Constant, Graph, Node, TensorType
    from proofs.interpreter import evaluate
    from proofs.separation import SeparationCertificate, certify_separation
    from proofs.verdict import Verdict
    from proofs.vocabulary import VocabularyMargin, certify_vocabulary

_HOMES = {
    "SCHEMA": "proofs.evidence",
    "AnalyticityProof": "proofs.analyticity",
    "CheckResult": "proofs.checker",
    "Constant": "proofs.graph",
    "Evidence": "proofs.evidence",
    "Graph": "proofs.graph",
    "InvalidInput": "proofs.errors",
    "MissingResource": "proofs.errors",
    "Node": "proofs.graph",
    "Obstruction": "proofs.analyticity",
    "Obstructions": "proofs.analyticity",
    "Record": "proofs.evidence",
    "SeparationCertificate": "proofs.separation",
    "SipitError": "proofs.errors",
    "TensorType": "proofs.graph",
    "Unsupported": "proofs.errors",
    "Verdict": "proofs.verdict",
    "VocabularyMargin": "proofs.vocabulary",
    "certify_separation": "proofs.separation",
    "certify_vocabulary": "proofs.vocabulary",
    "check": "proofs.certificate",
    "evaluate": "proofs.interpreter",
    "prove_analytic": "proofs.analyticity",
    "read_record": "proofs.evidence",
}

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
    "SeparationCertificate",
    "SipitError",
    "TensorType",
    "Unsupported",
    "Verdict",
    "VocabularyMargin",
    "certify_separation",
    "certify_vocabulary",
    "check",
    "evaluate",
    "prove_analytic",
    "read_record",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'proofs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
