"""Rigorous lower bounds on the distances between the states of given prompts: the work behind `sipit certify`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, islice
from typing import Any

from numerics.dtypes import name_of
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_point import LARGEST
from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.kernel.separation import LARGEST_SET
from proofs.network.weights import weights_digest
from proofs.processes import processors
from proofs.provers.separation import SeparationCertificate, certify_separation
from proofs.structure.equal_prompts import UNTOLD
from proofs.verdict import Verdict
from sipit.claims.certify_vocabulary import float64_distance, vocabulary_margin
from sipit.claims.fields import MOST_LISTED, separated
from sipit.claims.float_noise import CAST_FREE, LIBRARY, noise_budget
from sipit.claims.kept_enclosures import KeptTrails
from sipit.claims.number_systems import FIXED_POINT, in_floats
from sipit.claims.same_network import graphs_as_it_runs
from sipit.claims.weights import remember
from sipit.memory import available_memory
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.prompts.reading import Prompt, tokenize
from sipit.record import Stopwatch, exact_provenance

LARGEST_STATES, STATE_BYTES = 200 * 10**6, 12  # bytes of all last states in a record, and of one entry of them


def certify(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    layer: int | None = None,
    bits: int | None = None,
    special_tokens: bool = True,
    budget: bool = True,
    vocabulary: int | None = None,
    observed: tuple[Sequence[float], Fraction] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Certifies lower bounds on the distances between the last states of all pairs of prompts.

    Args:
        model: its weights, as loaded, are what the claim is about.
        prompts: text or token ids, at least two.
        layer: blocks passed, before any final norm; None for half the depth.
        bits: of the fixed point; None to choose, and to raise them while a pair stays open.
        special_tokens: whether text gets the tokenizer's special tokens.
        budget: also bound the errors of float32, bfloat16 and float64 runs, layer by layer.
        vocabulary: take the one prompt as a prefix, and it followed by each of the first so many tokens as the prompts:
            all in float64 midpoint-radius arithmetic and the closest exactly; with `bits` or `observed` all exactly.
        observed: a state, and how far (L2) it may be from the true one: of which of the prompts can it be?
        progress: called with (prompts done, all).

    Raises:
        InvalidInput: prompts that are none, fewer than two or too long for memory; a layer that the model has not; a
            model that is not as it was loaded.
        Unsupported: a network that cannot be captured, or has an operation without an enclosure, or hidden weights.
    """
    watch = Stopwatch()
    check_loaded(model)
    rows = tokenize(model, prompts, special_tokens=special_tokens)
    chosen = model.layers // 2 if layer is None else layer
    if not 0 <= chosen <= model.layers:
        raise InvalidInput(
            f"Expected a layer from 0 to {model.layers}, but got {chosen}; the final norm is not covered."
        )
    longest = max(map(len, rows))
    if vocabulary is not None and model.limit is not None and longest >= model.limit:
        raise InvalidInput(
            f"Expected a prefix of fewer than {model.limit} tokens, the context of {model.name}, but got {longest}; "
            "shorten it."
        )
    _check_memory(model, rows)
    try:
        verdict, result, weights = _found(model, rows, chosen, bits, budget, vocabulary, observed, progress)
    except Undecided as reason:
        count = len(rows) if vocabulary is None else min(vocabulary, model.vocabulary_size)
        verdict, weights = Verdict.UNDECIDED, None
        result = _nothing(rows, count, bits or LARGEST, str(reason)) | {"layer": chosen}
    arithmetic = str(result.get("arithmetic", FIXED_POINT))
    also = [in_floats("the noise budget", [*LIBRARY, CAST_FREE])] if result.get("noise_budget") else []
    where = exact_provenance(
        model.name, arithmetic, *also, *model.assembly, digest=model.digest, weights=weights,
        dtype=name_of(model.dtype), device=str(model.device),
    )  # fmt: skip
    return Record("certify", verdict, result, where, watch.seconds)


def _found(
    model: LanguageModel,
    rows: list[list[int]],
    chosen: int,
    bits: int | None,
    budget: bool,
    vocabulary: int | None,
    observed: tuple[Sequence[float], Fraction] | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Verdict, dict[str, Any], str]:
    """What `certify` finds: the verdict, the result, and the digest of the weights.

    Raises:
        Undecided: enclosures too wide to go on with, and no more bits are allowed.
        KeyboardInterrupt: with words, where nothing is kept of what is interrupted.
    """
    if vocabulary is not None and observed is None and bits is None:
        try:
            margin, result = vocabulary_margin(model, rows, vocabulary, chosen, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept of a margin over a vocabulary") from None
        return margin.verdict, result, str(margin.weights["sha256"])
    if vocabulary is not None:
        rows = _continuations(model, rows, vocabulary)
    graphs, weights, tied = graphs_as_it_runs(model, chosen, rows)
    digest = weights_digest(weights)["sha256"]
    trails = KeptTrails(f"{digest[:16]}-{chosen}-{bits or 'auto'}", graphs)
    certificate = certify_separation(
        graphs,
        weights,
        rows,
        bits=bits,
        observed=observed,
        progress=progress,
        workers=processors(),
        kept=trails.read(rows),
        keep=trails.keep,
    )
    certificate = replace(certificate, weights={**certificate.weights, "tied": tied, "model": model.name})
    remember(model, digest, weights, tied)
    result = _result(model, certificate, chosen)
    if budget and chosen:
        result["noise_budget"] = noise_budget(model, graphs, certificate.trails, weights)
    trails.forget()
    return certificate.verdict, result, digest


def _nothing(rows: Sequence[Sequence[int]], count: int, bits: int, reason: str) -> dict[str, Any]:
    """The result where the states of some prompt could not be enclosed at all: every pair of `count` stays open."""
    listed = islice(combinations(range(count), 2), MOST_LISTED)
    return {
        "pairs": count * (count - 1) // 2,
        "certified": 0,
        "uncertified": [{"first": i, "second": j, "reason": "enclosures too wide"} for i, j in listed],
        "minimum_lower_bound": None,
        "minimum_distance_float64": None,
        "collisions_undecided": None,
        "closest": None,
        "bits": bits,
        "unique": None,
        "matches": None,
        "prompts": [list(row) for row in rows],
        "idealisations": [],
        "statement": "",
        "reason": reason,
    }


def _continuations(model: LanguageModel, rows: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """The one prompt followed by each of the first tokens of the vocabulary."""
    if len(rows) != 1:
        raise InvalidInput(f"Expected one prompt as the prefix of the vocabulary, but got {len(rows)}; give one.")
    tokens = min(count, model.vocabulary_size)
    most = min(LARGEST_SET, LARGEST_STATES // (STATE_BYTES * model.width))
    if not 2 <= tokens <= most:
        raise InvalidInput(
            f"Expected from 2 to {most} tokens, whose states fit into one record, but got {tokens}; name fewer, "
            "or leave out --bits and --states."
        )
    return [[*rows[0], token] for token in range(tokens)]


def _result(model: LanguageModel, certificate: SeparationCertificate, layer: int) -> dict[str, Any]:
    data = certificate.to_json()
    return {
        **separated(data),
        "minimum_distance_float64": float64_distance(certificate),
        "collisions_undecided": UNTOLD if certificate.untold else None,
        "certificate": data,
    }


def _check_memory(model: LanguageModel, rows: Sequence[Sequence[int]]) -> None:
    """Raises InvalidInput where the longest prompt would need more memory than there is."""
    config = model.module.config.get_text_config()
    widths = [getattr(config, name, None) for name in ("intermediate_size", "n_inner", "ffn_dim")]
    inner = max((width for width in widths if isinstance(width, int)), default=4 * model.width)
    heads = getattr(config, "num_attention_heads", None)
    heads = heads if isinstance(heads, int) else 1
    limbs = 2.4 * math.log2(model.width) * model.layers / 24 + 8
    each, square = (6 * inner + 12 * model.width) * (60 + 40 * limbs), heads * (200 + 60 * limbs)
    free = available_memory() * 0.8

    def bytes_for(length: int) -> float:
        return each * length + square * length * length

    longest = max(range(len(rows)), key=lambda i: len(rows[i]))
    if bytes_for(len(rows[longest])) > free:
        fits = next((n for n in range(len(rows[longest]), 0, -1) if bytes_for(n) <= free), 0)
        raise InvalidInput(
            f"Expected prompts that fit into {free / 1e9:.1f} GB of free memory, but prompt {longest} of "
            f"{len(rows[longest])} tokens needs about {bytes_for(len(rows[longest])) / 1e9:.1f} GB; "
            f"at most {fits} tokens fit."
        )
