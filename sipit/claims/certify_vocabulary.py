"""The margin of a prefix over a vocabulary: the work behind `sipit certify --vocabulary`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from proofs.enclosures.enclosure import Enclosure
from proofs.errors import InvalidInput
from proofs.processes import processors
from proofs.provers.separation import SeparationCertificate
from proofs.provers.vocabulary import VocabularyMargin, certify_vocabulary
from proofs.structure.equal_prompts import UNTOLD
from sipit.claims import fields
from sipit.claims.number_systems import MARGIN
from sipit.claims.same_network import graphs_as_it_runs
from sipit.claims.weights import remember
from sipit.models import LanguageModel


def vocabulary_margin(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    tokens: int,
    layer: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[VocabularyMargin, dict[str, Any]]:
    """The certificate for the one prompt as a prefix and the first tokens of the vocabulary, and what a record says.

    Raises:
        InvalidInput: not one prompt, or fewer than two tokens.
        Unsupported: the network cannot be captured, or has an operation without an enclosure.
    """
    if len(rows) != 1:
        raise InvalidInput(f"Expected one prompt as the prefix of the vocabulary, but got {len(rows)}; give one.")
    if tokens < 2:
        raise InvalidInput(f"Expected at least 2 tokens of the vocabulary, but got {tokens}; name more.")
    prefix = rows[0]
    (graph,), weights, tied = graphs_as_it_runs(model, layer, [[*prefix, 0]])
    count = min(tokens, model.vocabulary_size)
    margin = certify_vocabulary(graph, weights, prefix, count, workers=processors(), progress=progress)
    named = {"tied": tied, "model": model.name}
    margin = replace(
        margin,
        weights={**margin.weights, **named},
        closest=replace(margin.closest, weights={**margin.closest.weights, **named}),
    )
    remember(model, margin.weights["sha256"], weights, tied)
    return margin, _result(model, margin)


def _result(model: LanguageModel, margin: VocabularyMargin) -> dict[str, Any]:
    data = margin.to_json()
    tokens = data["claim"]["closest"] or []
    return {
        **fields.margin(data),
        "minimum_distance_float64": float64_distance(margin.closest),
        "collisions_undecided": UNTOLD if margin.closest.untold else None,
        "closest_text": [model.decode([token]) for token in tokens],
        "arithmetic": MARGIN,
        "certificate": data,
    }


def float64_distance(certificate: SeparationCertificate) -> float | None:
    """The distance of the closest pair between the midpoints of its enclosures."""
    if certificate.found.closest is None:
        return None
    first, second = (_middle(certificate.trails[i].state) for i in certificate.found.closest)
    return float(np.linalg.norm(first - second))


def _middle(state: Enclosure) -> Any:
    return state.mantissa[-1].astype(np.float64) * 2.0**-state.bits
