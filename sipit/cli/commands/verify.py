"""`sipit verify`: re-checks the certificate in a record with the kernel, without torch."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from sipit.cli.options import Json, Output
from sipit.cli.output import check_output, finish, say_unused, tell

SHOWN = 24  # paths that are not vouched for, in the terminal
COLLECTED = 100_000  # new objects before cycles are looked for: a check makes millions that last, and hardly a cycle


def verify(
    file: Annotated[Path, typer.Argument(help="A record with a certificate, written with -o FILE.json.")],
    model: Annotated[
        str | None, typer.Option(help="Where the weights of a claim about weights are; default: found by their digest.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Of a certificate with many steps, how many to check again (default: all); "
            "of a margin over a vocabulary, how many tokens to confirm in Arb (default: 64)."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draws these steps or tokens; default: a fresh one, named in the record.")
    ] = None,
    limit: Annotated[float, typer.Option(help="Check certificates up to so many times dearer than by default.")] = 1.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Derive what the certificate in a record shows, and compare the record with it, whatever its verdict says.

    Example: sipit verify record.json
    """
    check_output(output)
    from proofs.kernel.door import OF_WEIGHTS, SEPARATION
    from sipit.claims.paths import in_short
    from sipit.claims.verify import verify_record

    gc.set_threshold(COLLECTED)
    record = verify_record(file, model=model, steps=steps, seed=seed, limit=limit)
    kind = record.result["kind"]
    if kind not in OF_WEIGHTS:
        say_unused("a claim that is not about weights", {"--model": model, "--steps": steps, "--seed": seed})
    elif kind == SEPARATION and steps is None:
        say_unused("a check of every step", {"--seed": seed})

    def show() -> None:
        result = record.result
        lines = [f"{record.verdict}: {result['claim'] or result['reason']}"]
        if result["claim"] is not None:
            about = {name.replace("_", " "): found for name, found in result["about"].items() if found}
            names = ", ".join(f"{name} {_digests(found)}" for name, found in about.items())
            lines += [
                f"  of: {names}",
                f"  how: {result['reason']}",
                f"  not vouched for: {_named(in_short(result['not_vouched_for'], result['derived']))}",
            ]
        tell("\n".join(lines))

    finish(record, as_json=as_json, output=output, show=show)


def _digests(found: str | list[str]) -> str:
    """The beginning of one sha256 or of several."""
    return " ".join(f"{digest[:16]}…" for digest in ([found] if isinstance(found, str) else found))


def _named(paths: list[str]) -> str:
    """The paths that lead least deep, with what a terminal could not show written as escapes."""
    nearest = sorted(paths, key=lambda path: path.count("."))
    shown = ", ".join(ascii(path)[1:-1] for path in nearest[:SHOWN])
    return shown if len(paths) <= SHOWN else f"{shown}, and {len(paths) - SHOWN} more (--json lists all)"
