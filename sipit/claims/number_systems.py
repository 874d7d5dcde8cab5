"""The number systems that claims are proved, checked and measured in: the words of a record's `arithmetic`.

Each command joins those that ran by "; ". Needs no torch, as `sipit verify` does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proofs.enclosures.continuations import ARITHMETIC as CONTINUATIONS
from proofs.kernel.generic_position import BITS as PATTERN_BITS
from proofs.recomputed.published_witness import BITS as WITNESS_BITS
from proofs.recomputed.training_step import BITS as STEP_BITS

RATIONALS = "exact rationals"
PATTERNS = f"Arb balls of {PATTERN_BITS} bits; lemmas read off the graph"
SURDS = f"exact sums of square roots; Arb balls of {WITNESS_BITS} bits where the state leaves that ring"
STEP = f"Arb balls of {STEP_BITS} bits; exact at 0"
FIXED_POINT = "exact fixed point with proved radii; matrix products as integers in float64; elementary functions in Arb"
MARGIN = f"{CONTINUATIONS}; the closest tokens in exact fixed point with proved radii"


def in_floats(what: str, runs: Sequence[str]) -> str:
    """What is measured beside a claim, and the runs in floats that it comes from."""
    return f"{what}: {', '.join(runs)}"


def checked_in(certificate: Mapping[str, Any]) -> str:
    """What the kernel of a certificate's kind computes in; balls of a class where there is a witness alone."""
    return _CHECKED[certificate["kind"]](certificate)


def _of_class(certificate: Mapping[str, Any]) -> str:
    return RATIONALS if certificate.get("witness") is None else f"{RATIONALS}; Arb balls for the witness"


_CHECKED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "regularity": _of_class,
    "generic-position": lambda _: PATTERNS,
    "witness": lambda _: SURDS,
    "training-step": lambda _: STEP,
    "separation": lambda _: f"{FIXED_POINT}; steps that are drawn in Arb balls too",
    "vocabulary-margin": lambda _: f"{MARGIN}; states that are drawn in Arb balls too",
}
