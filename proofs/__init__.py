"""What is true of the ideal network over the reals; imports no torch.

Names are loaded when they are used, so that a command that only needs an error or a record does not wait for Arb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proofs.door import check
    from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
    from proofs.evidence import SCHEMA, Evidence, Record, read_record
    from proofs.kernel.claim import Claim
    from proofs.kernel.door import CheckResult
    from proofs.network.graph import Constant, Graph, Node, TensorType
    from proofs.operations.interpreter import evaluate
    from proofs.provers.analyticity import AnalyticityProof, Obstruction, Obstructions, prove_analytic
    from proofs.provers.separation import SeparationCertificate, certify_separation
    from proofs.provers.vocabulary import VocabularyMargin, certify_vocabulary
    from proofs.verdict import Verdict

_HOMES = {
    "SCHEMA": "proofs.evidence",
    "AnalyticityProof": "proofs.provers.analyticity",
    "CheckResult": "proofs.kernel.door",
    "Claim": "proofs.kernel.claim",
    "Constant": "proofs.network.graph",
    "Evidence": "proofs.evidence",
    "Graph": "proofs.network.graph",
    "InvalidInput": "proofs.errors",
    "MissingResource": "proofs.errors",
    "Node": "proofs.network.graph",
    "Obstruction": "proofs.provers.analyticity",
    "Obstructions": "proofs.provers.analyticity",
    "Record": "proofs.evidence",
    "SeparationCertificate": "proofs.provers.separation",
    "SipitError": "proofs.errors",
    "TensorType": "proofs.network.graph",
    "Unsupported": "proofs.errors",
    "Verdict": "proofs.verdict",
    "VocabularyMargin": "proofs.provers.vocabulary",
    "certify_separation": "proofs.provers.separation",
    "certify_vocabulary": "proofs.provers.vocabulary",
    "check": "proofs.door",
    "evaluate": "proofs.operations.interpreter",
    "prove_analytic": "proofs.provers.analyticity",
    "read_record": "proofs.evidence",
}

__all__ = [
    "SCHEMA",
    "AnalyticityProof",
    "CheckResult",
    "Claim",
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
