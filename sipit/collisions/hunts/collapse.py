"""Representational collapse: where a number format makes states bit-identical although the real ones differ.

Behind a first token b that differs from a, the states of b a^n and b a^(n+1) differ over the reals, but by less and
less (Barbero et al., arXiv 2406.04267: like 1/n for attention; in state-space models exponentially). The same happens
to two long contexts that differ in their first token alone. One run over the longest prompt gives all lengths at once.
The reference runs the same stored weights (as rounded to the format) in float64; it is measured, not proved: lengths
at which it sets states apart by no more than it errs are undecided. Prompts that collide over the reals, as behind a
sliding window, are set apart.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sipit.collisions.known import Families
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.models.network import Network
from sipit.noise.float64 import float64_errors, unit_within
from sipit.prompts.builtin_text import within_context
from sipit.prompts.corpora import Corpus
from sipit.record import Progress, finite

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LENGTH = 512  # tokens of the longest prompt
RUNS = 4  # tokens whose runs are looked at: the most frequent ones of the corpus


def hunt_collapse(
    model: LanguageModel,
    corpus: Corpus,
    families: Mapping[int, Families],
    *,
    length: int = LENGTH,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs of the most frequent tokens behind a first one, and contexts that differ early, in every number format.

    No prompt is longer than the context, or than the first length beyond which the states of a prompt's beginning are
    not those that it has alone.

    Args:
        model: whose weights are rounded to each format.
        corpus: where tokens and contexts come from.
        families: by layer to look at, which prompts are known to collide there.
        length: tokens of the longest prompt.
        progress: called with (formats done, formats in all).
    """
    length = min([within_context(model, length), *model.lengths.lengths])
    first, tokens = _tokens(model, corpus)
    if not tokens:
        return {"summary": "all tokens of the corpus have one embedding row", "length": length, "cases": []}
    context = _context(corpus, length)
    cases: list[dict[str, Any]] = []
    for done, (name, dtype) in enumerate(FORMATS.items(), start=1):
        rounded = in_dtype(model, dtype)
        exact = in_dtype(rounded, torch.float64)
        for layer, known in families.items():
            unit = unit_within(Network(exact, layer))
            at: dict[str, Any] = {"format": name, "layer": layer, "first_token": first}
            for token in tokens:
                run = _run(rounded, exact, [first, *[token] * (length - 1)], layer, known, unit)
                named = {"kind": "run", **at, "token": token, "text": model.decode([token])}
                cases.append({**named, **_faded(run, run, longer=1)})
            pair = [_run(rounded, exact, [start, *context], layer, known, unit) for start in (first, tokens[0])]
            named = {"kind": "early difference", **at, "token": tokens[0], "text": model.decode([tokens[0]])}
            cases.append({**named, **_faded(*pair)})
        if progress is not None:
            progress(done, len(FORMATS))
    return {"summary": _summary(cases), "length": length, "cases": cases}


def fading(
    differences: NDArray[np.float64],
    exact: NDArray[np.float64],
    *,
    states: NDArray[np.float64],
    errors: NDArray[np.float64],
    known: NDArray[np.bool_],
    shortest: int = 1,
) -> dict[str, Any]:
    """How the difference of two prompts fades with length, and where the format no longer shows it.

    A length is the number of tokens of the shorter prompt: n + 1 for b a^n against b a^(n+1), and n for two contexts of
    n tokens each.

    Args:
        differences: shape (lengths, d), of the states in the format, one row a length.
        exact: the same in float64.
        states: whose norms the differences are compared with, as many rows.
        errors: shape (lengths,), how far apart float64 may set equal states, absolute L2.
        known: shape (lengths,), whether the two prompts collide over the reals.
        shortest: the length of the first row.

    Returns:
        `bit_identical` counts lengths where the format's states are equal and float64 sets them apart by more than it
        errs, `undecided` those where they are equal and it does not; neither has lengths that are `known_to_collide`.
        `first_bit_identical` is the least length of the first kind; `always_from` the length from which all are;
        `distances` are absolute L2, at lengths that double. Where the format overflows there is no distance;
        `overflown` counts that.
    """
    shown, real = np.linalg.norm(differences, axis=1), np.linalg.norm(exact, axis=1)
    norms = np.linalg.norm(states, axis=1)
    equal = (shown == 0) & ~known
    hidden = equal & (real > errors)
    places = np.flatnonzero(hidden)
    visible = np.flatnonzero(~hidden)
    alike = int(visible[-1]) + 1 if len(visible) else 0
    ends = shortest + len(shown)
    lengths = [1 << power for power in range(ends.bit_length()) if shortest <= 1 << power < ends]
    return {
        "lengths": len(shown),
        "bit_identical": int(hidden.sum()),
        "undecided": int((equal & ~hidden).sum()),
        "known_to_collide": int(known.sum()),
        "first_bit_identical": int(places[0]) + shortest if len(places) else None,
        "always_from": alike + shortest if alike < len(shown) else None,
        "overflown": int((~np.isfinite(shown)).sum()),
        "minimum_distance": _least(shown),
        "minimum_distance_float64": _least(real),
        "distances": [
            {"length": n, "distance": finite(shown[n - shortest]), "distance_float64": finite(real[n - shortest]),
             "rounding_float64": finite(errors[n - shortest]), "norm": finite(norms[n - shortest])}
            for n in lengths
        ],
    }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A prompt of T tokens, and at every position what is the last state of its beginning there.

    Attributes:
        shown: states in the format, shape (T, d).
        exact: the same in float64.
        errors: what float64 errs by, absolute L2, shape (T,).
        keys: equal for beginnings that collide over the reals.
    """

    shown: NDArray[np.float64]
    exact: NDArray[np.float64]
    errors: NDArray[np.float64]
    keys: list[Hashable]


def _run(
    rounded: LanguageModel, exact: LanguageModel, ids: list[int], layer: int, families: Families, unit: float
) -> _Run:
    shown, real = (_states(one, ids, layer) for one in (rounded, exact))
    errors = float64_errors(Network(exact, layer), torch.tensor(ids, device=exact.device), unit).cpu().numpy()
    classes = rounded.token_classes[ids].tolist()  # rows that rounding makes one are one here
    return _Run(shown, real, errors, [families.key(classes[: end + 1]) for end in range(len(classes))])


def _faded(one: _Run, two: _Run, *, longer: int = 0) -> dict[str, Any]:
    """How the difference of the beginnings of two prompts fades, those of the second by so many tokens longer."""
    first = np.arange(longer, len(one.keys) - longer)  # a first token alone is no run yet
    second = first + longer
    return fading(
        _minus(one.shown[first], two.shown[second]),
        _minus(one.exact[first], two.exact[second]),
        states=one.shown[first],
        errors=one.errors[first] + two.errors[second],
        known=np.array([one.keys[a] == two.keys[b] for a, b in zip(first, second, strict=True)], dtype=bool),
        shortest=longer + 1,
    )


def _minus(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a difference of infinities is NaN, and counted as overflown
        return first - second


def _least(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.min()) if len(known) else None


def _states(model: LanguageModel, ids: list[int], layer: int) -> NDArray[np.float64]:
    run = Network(model, layer).run(torch.tensor([ids], device=model.device))
    return run[0].double().cpu().numpy()


def _tokens(model: LanguageModel, corpus: Corpus) -> tuple[int, list[int]]:
    """A first token (the BOS where there is one), and the most frequent tokens of other classes than its own."""
    frequent = [token for token, _ in Counter(token for ids in corpus.prompts.windows for token in ids).most_common()]
    bos = getattr(model.tokenizer, "bos_token_id", None)
    first = frequent[0] if bos is None else int(bos)
    classes = model.token_classes
    return first, [token for token in frequent if classes[token] != classes[first]][:RUNS]


def _context(corpus: Corpus, length: int) -> list[int]:
    """The start of the corpus, repeated where it is short; with a first token in front it has `length` tokens."""
    ids = [token for window in corpus.prompts.windows[:length] for token in window][: length - 1]
    return (ids * length)[: length - 1]


def _summary(cases: Sequence[dict[str, Any]]) -> str:
    parts: list[str] = []
    for name in FORMATS:
        own = [case for case in cases if case["format"] == name]
        collapsed = [case for case in own if case["bit_identical"]]
        least = min((case["first_bit_identical"] for case in collapsed), default=None)
        unclear = sum(bool(case["undecided"] and not case["bit_identical"]) for case in own)
        parts.append(
            f"{name}: {len(collapsed)} of {len(own)} cases become bit-identical"
            + ("" if least is None else f", first at {least} tokens")
            + (f", {unclear} undecided" if unclear else "")
        )
    return "; ".join(parts)
