"""What `sipit check` says of a vocabulary: tokens with equal rows, rows of zeros, rows that look untrained.

All of it comes from one pass over the table of embeddings. The nearest two rows need a product of the whole table with
itself where no bound excludes pairs, so they are looked for where that is quick, or on demand.
"""

from collections.abc import Sequence
from typing import Any

from sipit.record import Stages, silent

QUICK = 2e12  # multiply-adds of a product of the table with itself that are done unasked, half a minute or so


def vocabulary(loaded: Any, *, nearest: bool = False, stages: Stages = silent) -> dict[str, Any]:
    """The field `duplicate_embeddings` of a record of check.

    Args:
        loaded: a `LanguageModel`.
        nearest: find the exact nearest pair however long that takes.
        stages: called as the work goes on.
    """
    from numerics.pairs.embeddings import duplicate_rows, nearest_rows
    from numerics.pairs.suspects import suspect_rows

    weight = loaded.module.get_input_embeddings().weight
    found, suspects = duplicate_rows(weight), suspect_rows(weight)
    products = found.unique_rows**2 * weight.shape[1] / 2
    pair = None
    if nearest or products <= QUICK:
        with stages(f"nearest rows, {products:.1e} multiply-adds at most") as progress:
            pair = nearest_rows(weight, progress=progress)
    groups = [list(group) for group in found.groups]
    if groups:  # another table, or the body, may tell them apart
        groups = loaded.shared_classes
    return {
        "rows": found.rows,
        "unique_rows": found.rows - sum(len(group) - 1 for group in groups),
        "groups": groups,
        "tokens": [_texts(loaded, group) for group in groups],
        "zero_rows": list(suspects.zero),
        "suspect_rows": list(suspects.suspect),
        "suspicion": _suspicion(loaded, suspects),
        "nearest": None
        if pair is None
        else {"token_ids": [pair.first, pair.second], "distance": pair.distance,
              "tokens": _texts(loaded, (pair.first, pair.second))},
        "nearest_looked_for": nearest or products <= QUICK,
    }  # fmt: skip


def _suspicion(loaded: Any, suspects: Any) -> dict[str, Any]:
    """The rows that look untrained, with the sizes that they were held against."""
    return {
        "tokens": _texts(loaded, suspects.suspect),
        "usual_norm": suspects.norm,
        "usual_nearest": suspects.distance,
        "says": "shorter and nearer to another row than usual by far: perhaps never trained; measured, no proof",
    }


def _texts(loaded: Any, ids: Sequence[int]) -> list[str | None]:
    """Tokens as text, not by the letters that a tokenizer has for bytes; none without a tokenizer."""
    return [None if loaded.tokenizer is None else loaded.decode([token]) for token in ids]
