"""What a search for collisions found, as the fields of a record."""

from collections.abc import Iterable
from typing import Any

from numerics.pairs.search import Pair
from proofs.formal.names import named
from proofs.verdict import Verdict
from sipit.collisions.causes import Cause
from sipit.collisions.examination import Examined, Hit
from sipit.collisions.findings import zero_hits_bound
from sipit.models import LanguageModel
from sipit.prompts.corpora import Corpus


def layers_json(model: LanguageModel, corpus: Corpus, examined: Iterable[Examined]) -> dict[str, Any]:
    """The fields of a record: `verdict` (of these prompts), `prompts`, `pairs`, `layers`, `collisions`, `bound` …"""
    examined = list(examined)
    count = len(corpus)
    verdicts = {one.verdict for one in examined}
    known = [one.findings.known for one in examined]
    bound, reason = _bound(corpus, verdicts)
    return {
        "verdict": Verdict.worst(verdicts),
        "prompts": count,
        "pairs": count * (count - 1) // 2,
        "corpus": corpus.name,
        "corpus_digest": corpus.prompts.digest,
        "layers": [_layer_json(model, corpus, one) for one in examined],
        "collisions": [
            {"layer": one.findings.layer, **_hit_json(model, corpus, hit)} for one in examined for hit in one.collisions
        ],
        "theorems": named(
            (claim for one in known for claim in one.shown), (claim for one in known for claim in one.claims)
        ),
        "bound": bound,
        "bound_reason": reason,
    }


def _layer_json(model: LanguageModel, corpus: Corpus, one: Examined) -> dict[str, Any]:
    shown = dict.fromkeys((*one.findings.closest, *one.findings.outside))
    return {
        **one.findings.to_json(corpus.numbers),
        "noise": one.noise,
        "closest_prompts": [{**_prompts_json(model, corpus, pair), "distance": pair.distance} for pair in shown],
        "not_confirmed": [
            _hit_json(model, corpus, hit) for hit in one.hits if hit.explanation.cause is Cause.NOT_CONFIRMED
        ],
        "listed": len(one.collisions),
        "unexamined": one.unexamined,
    }


def _hit_json(model: LanguageModel, corpus: Corpus, hit: Hit) -> dict[str, Any]:
    explanation = hit.explanation
    return {
        **_prompts_json(model, corpus, hit),
        "distance": explanation.distance,
        "distance_float64": explanation.distance_float64,
        "noise": explanation.noise,
        "stored_distance": hit.stored_distance,
        "cause": explanation.cause.value,
    }


def _prompts_json(model: LanguageModel, corpus: Corpus, pair: Pair | Hit) -> dict[str, Any]:
    first, second = sorted((pair.first, pair.second), key=lambda prompt: corpus.numbers[prompt])
    ids = [corpus.prompts.token_ids(prompt) for prompt in (first, second)]
    return {
        "first": int(corpus.numbers[first]),
        "second": int(corpus.numbers[second]),
        "texts": [model.decode(one) for one in ids],
        "token_ids": ids,
    }


def _bound(corpus: Corpus, verdicts: set[Verdict]) -> tuple[float | None, str]:
    """What seeing no collision allows one to say, and why."""
    if verdicts - {Verdict.SEPARATED}:
        there = "Pairs are undecided" if verdicts <= {Verdict.SEPARATED, Verdict.UNDECIDED} else "There are collisions"
        return None, f"{there}; a bound says what seeing none would allow."
    if not corpus.independent or corpus.drawn is None:
        return None, (
            "The prompts are a fixed corpus, not independent draws: seeing no collision says that these pairs are "
            "separated, and nothing of other prompts."
        )
    bound = zero_hits_bound(corpus.drawn)
    return bound, (
        f"With 95 % confidence, two independent prompts of this distribution differ and collide with at most this "
        f"probability, from {corpus.drawn // 2} disjoint pairs (all pairs share prompts and are not independent)."
    )
