"""The margin of a prefix over a vocabulary: the work behind `sipit certify --vocabulary`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from numerics.capture import capture_graph
from proofs.enclosures.continuations import ARITHMETIC
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import InvalidInput
from proofs.processes import processors
from proofs.provers.separation import SeparationCertificate
from proofs.provers.vocabulary import VocabularyMargin, certify_vocabulary
from proofs.structure.equal_prompts import ROWS
from sipit.models import LanguageModel
from sipit.weight_files import remember, weights_of

MOST_LISTED = 10_000  # pairs without a bound that a record lists
EXACT = "the closest tokens in exact fixed point with proved radii"


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
    graph = capture_graph(model.module.config, layer, "eager", length=len(prefix) + 1)
    weights, tied = weights_of(model, [graph])
    count = min(tokens, model.vocabulary_size)
    margin = certify_vocabulary(graph, weights, prefix, count, workers=processors(), progress=progress)
    named = {"tied": tied, "model": model.name}
    margin = replace(
        margin,
        weights={**margin.weights, **named},
        closest=replace(margin.closest, weights={**margin.closest.weights, **named}),
    )
    remember(model, margin.weights["sha256"], weights, tied)
    return margin, _result(model, margin, layer)


def _result(model: LanguageModel, margin: VocabularyMargin, layer: int) -> dict[str, Any]:
    data = margin.to_json()
    claim = data["claim"]
    tokens = claim["closest"] or []
    return {
        **{name: claim[name] for name in ("pairs", "certified")},
        "uncertified": list(islice(_without_bound(data), MOST_LISTED)),
        "minimum_lower_bound": claim["minimum_lower_bound"],
        "minimum_distance_float64": float64_distance(margin.closest),
        "closest": claim["closest"],
        "closest_text": [model.tokenizer.decode([token]) for token in tokens],
        "bits": margin.bits,
        "layer": layer,
        "unique": None,
        "matches": None,
        "prompts": [list(margin.prefix)],
        "prefix": list(margin.prefix),
        "tokens": margin.tokens,
        "duplicates": data["duplicates"],
        "others_at_least": data["enclosures"]["others_at_least"],
        "largest_radius": data["enclosures"]["largest_radius"],
        "arithmetic": f"{ARITHMETIC}; {EXACT}",
        "statement": claim["statement"],
        "certificate": data,
    }


def _without_bound(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pairs of tokens that no bound is stated for, as far as they are known one by one."""
    for group in data["duplicates"]:
        for first, second in combinations(group, 2):
            yield {"first": first, "second": second, "family": ROWS, "reason": "equal over the reals"}
    rows = [row["token_ids"][-1] for row in data["closest"]["prompts"]]
    for first, second in data["closest"]["unresolved"]:
        yield {"first": rows[first], "second": rows[second], "reason": "enclosures meet"}
    if data["claim"]["minimum_lower_bound"] is None and data["claim"]["closest"] is not None:
        first, second = data["claim"]["closest"]
        yield {"first": first, "second": second, "reason": "float64 enclosures of this pair or of others meet"}


def float64_distance(certificate: SeparationCertificate) -> float | None:
    """The distance of the closest pair between the midpoints of its enclosures."""
    if certificate.found.closest is None:
        return None
    first, second = (_middle(certificate.trails[i].state) for i in certificate.found.closest)
    return float(np.linalg.norm(first - second))


def _middle(state: Enclosure) -> Any:
    return state.mantissa[-1].astype(np.float64) * 2.0**-state.bits
