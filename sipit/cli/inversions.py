"""The records of `sipit invert` for people: one paragraph per prompt, its outcome first."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sipit.cli.output import tell

_UNFIT = ("not_found", "budget_exhausted")


def show_inversions(result: Mapping[str, Any]) -> None:
    """Prints the prompts that were recovered, and what is known of those that were not."""
    for number, prompt in enumerate(result["prompts"]):
        tokens = prompt["token_ids"]
        known = sum(token is not None for token in tokens)
        tell(f"prompt {number}: {prompt['outcome']}")
        tell(f"  {prompt['explanation']}")
        if prompt["text"] is not None:
            tell(f"  {prompt['text']!r}")
        if prompt["text_is_prompt"] is False:
            tell(f"  the text is not the prompt: the tokenizer makes other ids of it than {tokens}")
        tell(
            f"  {known} of {len(tokens)} tokens · {_distances(prompt['tokens'])} · {prompt['forward_passes']} forward"
            f" passes · {prompt['candidates_tested']} candidates · {prompt['seconds']:.1f} s"
        )
        for line in _alternatives(prompt["alternatives"])[:8]:
            tell(f"  {line}")
        if prompt.get("working_text"):
            tell(f"  not verified, what the nearest tokens spell: {prompt['working_text']!r}")
        for ids, score in prompt.get("likeliest", [])[:3]:
            tell(f"  among the likeliest that fit: {ids}, log-probability {score:.1f}")
        if prompt["matches_truth"] is not None:
            tell(f"  agrees with the true prompt: {'yes' if prompt['matches_truth'] else 'no'}")


def _distances(tokens: Sequence[Mapping[str, Any]]) -> str:
    """How far the tokens that fit and their rivals are, and how far the nearest was where none was accepted."""
    unfit = [token for token in tokens if token["outcome"] in _UNFIT and token["token_id"] is None]
    fit = [token for token in tokens if token not in unfit]
    residual, rival = (
        [token[name] for token in fit if token[name] is not None] for name in ("residual", "margin")
    )  # fmt: skip
    parts: list[str] = []
    if fit:
        parts.append(f"largest residual {_number(max(residual, default=None), 'none')}")
        parts.append(f"nearest rival {_number(min(rival, default=None), 'none')}")
    for token in [token for token in unfit if token["residual"] is not None][:1]:
        parts.append(f"no token accepted at position {token['position']}, the nearest tested {token['residual']:.1e}")
    return " · ".join(parts) or "no token tested"


def _alternatives(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each, and one for positions in a row of which the same is to be said."""
    lines: list[str] = []
    for (ids, reason, _), alike in groupby(enumerate(entries), _run):
        places = [entry["position"] for _, entry in alike]
        where = f"position {places[0]}" if len(places) == 1 else f"positions {places[0]} to {places[-1]}"
        lines.append(f"{where}: {reason}" + (f": {list(ids)}" if ids else ""))
    return lines


def _run(numbered: tuple[int, Mapping[str, Any]]) -> tuple[Any, ...]:
    number, entry = numbered
    return tuple(entry["token_ids"]), entry["reason"], entry["position"] - number


def show_partial(result: Mapping[str, Any]) -> None:
    """Prints the nearest prompts to a part of their states, segment by segment."""
    for number, prompt in enumerate(result["partial"]):
        tell(f"prompt {number}: {prompt['outcome']}")
        tell(f"  {prompt['explanation']}")
        tell(f"  nearest: {prompt['nearest_text']!r} {prompt['nearest_token_ids']}")
        for segment in prompt["segments"]:
            first, last = segment["first"], segment["last"]
            place = f"position {last}" if first == last else f"positions {first} to {last}"
            tell(f"  {place}: residual {_number(segment['residual'], 'infinite')}, {segment['reason']}")
            for tokens, other in segment["alternatives"][:3]:
                tell(f"    next {tokens}: {_number(other, 'infinite')}")
        if prompt["matches_truth"] is not None:
            tell(f"  agrees with the true prompt: {'yes' if prompt['matches_truth'] else 'no'}")


def show_diagnosis(result: Mapping[str, Any]) -> None:
    """Prints what is known of the convention of states."""
    for number, diagnosis in enumerate(result["diagnosis"]):
        tell(f"prompt {number}: {diagnosis['cause'].replace('_', ' ')}")
        for sentence in diagnosis["sentences"]:
            tell(f"  {sentence}")
        if diagnosis["text"] is not None:
            tell(f"  {diagnosis['text']!r}")


def _number(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.1e}"
