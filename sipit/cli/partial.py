"""`sipit invert` with --positions, --prefix or --suffix: the nearest prompt to a part of its states."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.diagnosis import parse_tokens
from sipit.cli.output import Clock, progress, provenance

if TYPE_CHECKING:
    from sipit.models import LanguageModel
    from sipit.states.files import States


def partial(
    model: "LanguageModel",
    states: "States",
    truth: list[list[int]] | None,
    prefix: str | None,
    suffix: str | None,
    positions: str | None,
    tolerance: float | None,
    budget: float,
    clock: Clock,
    *,
    seed: int,
) -> tuple[Record, Callable[[], None]]:
    """The record of a partial inversion, and what shows it.

    The rows of a prompt are all of its states, or those from the prefix on; of these, the rows at the positions
    are used.
    """
    from sipit.inversion.partial import PartialInversion, invert_partial

    front = parse_tokens(model, prefix, "--prefix") or ()
    back = parse_tokens(model, suffix, "--suffix", special_tokens=False) or ()
    found: list[PartialInversion] = []
    with progress("searching") as report:
        for number, rows in enumerate(states):
            whole = truth[number] if truth is not None else None
            begin = 0 if whole is not None and len(rows) == len(whole) else len(front)
            at, chosen = _placed(positions, begin, len(rows), len(front))
            if not at:
                raise InvalidInput(
                    f"Expected a row behind the prefix of {len(front)} tokens, but prompt {number} has {len(rows)} "
                    "rows from position 0 on; shorten --prefix, or say with --positions where the rows stand."
                )
            length = at[-1] + 1
            known = dict(enumerate(front)) | {length - len(back) + index: token for index, token in enumerate(back)}
            inversion = invert_partial(
                model, rows[chosen], layer=states.layer, positions=at, known=known, tolerance=tolerance, budget=budget,
                progress=report,
            )  # fmt: skip
            if whole is not None:
                agrees = [int(model.token_classes[token]) for token in whole[:length]] == [
                    int(model.token_classes[token]) for token in inversion.nearest_token_ids
                ]
                inversion = replace(inversion, matches_truth=agrees)
            found.append(inversion)
    record = Record(
        command="invert",
        verdict=Verdict.worst(inversion.outcome.verdict for inversion in found),
        result={"layer": states.layer, "policy": "partial", "partial": [inversion.to_json() for inversion in found]},
        provenance=provenance(model, seed=seed),
        seconds=clock.seconds,
    )

    def show() -> None:
        for number, (inversion, entry) in enumerate(zip(found, record.result["partial"], strict=True)):
            typer.echo(f"prompt {number}: {inversion.outcome.value}")
            typer.echo(f"  {entry['explanation']}")
            typer.echo(f"  nearest: {inversion.nearest_text!r} {inversion.nearest_token_ids}")
            for segment in inversion.segments:
                residual = _number(segment.residual)
                typer.echo(f"  {_line(segment.first, segment.last)}: residual {residual}, {segment.reason}")
                for tokens, other in segment.alternatives[:3]:
                    typer.echo(f"    next {tokens}: {_number(other)}")
            if inversion.matches_truth is not None:
                typer.echo(f"  agrees with the true prompt: {'yes' if inversion.matches_truth else 'no'}")

    return record, show


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.1e}"


def _line(first: int, last: int) -> str:
    return f"position {last}" if first == last else f"positions {first} to {last}"


def _placed(text: str | None, begin: int, rows: int, known: int) -> tuple[list[int], list[int]]:
    """Positions in the prompt, and the indices of their rows, of which `rows` stand from `begin` on.

    Without names those behind the known prefix. As many names as rows place the rows; fewer choose among them.
    """
    everything = list(range(max(begin, known), begin + rows))
    if text in {None, "all", "last"}:
        named = everything[-1:] if text == "last" else everything
        return named, [position - begin for position in named]
    try:
        named = [int(part) for part in str(text).split(",")]
    except ValueError:
        raise InvalidInput(f"Expected all, last or positions such as 0,3,5, but got {text!r}; correct it.") from None
    if len(named) == rows:
        return named, list(range(rows))
    if not all(begin <= position < begin + rows for position in named):
        raise InvalidInput(
            f"Expected one position for each of {rows} rows, or some of {begin} to {begin + rows - 1}, but got {text}; "
            "correct them."
        )
    return named, [position - begin for position in named]
