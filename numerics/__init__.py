"""What survives rounding: measurements and exact searches over floating-point states.

Names are imported when they are first used, so that `import numerics` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofs.idle_threads import let_idle_threads_sleep

if TYPE_CHECKING:
    from numerics.graphs.capture import capture_graph
    from numerics.graphs.float64 import evaluate_float64
    from numerics.pairs.bit_identity import bit_identical
    from numerics.pairs.embeddings import duplicate_rows, nearest_rows
    from numerics.pairs.search import ClosePairs, Pair, closest_pair, closest_pairs, pairs_within

_HOMES = {
    "ClosePairs": "numerics.pairs.search",
    "Pair": "numerics.pairs.search",
    "bit_identical": "numerics.pairs.bit_identity",
    "closest_pair": "numerics.pairs.search",
    "closest_pairs": "numerics.pairs.search",
    "capture_graph": "numerics.graphs.capture",
    "duplicate_rows": "numerics.pairs.embeddings",
    "evaluate_float64": "numerics.graphs.float64",
    "nearest_rows": "numerics.pairs.embeddings",
    "pairs_within": "numerics.pairs.search",
}

__all__ = [
    "ClosePairs",
    "Pair",
    "bit_identical",
    "capture_graph",
    "closest_pair",
    "closest_pairs",
    "duplicate_rows",
    "evaluate_float64",
    "nearest_rows",
    "pairs_within",
]

let_idle_threads_sleep()  # before torch is loaded


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numerics' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
