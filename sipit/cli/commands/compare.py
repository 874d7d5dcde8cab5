"""`sipit compare`: the first layer and position at which two runs differ by more than rounding."""

from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cli.options import Device, Dtype, Json, NoSpecialTokens, Output, Prompts, Seed
from sipit.cli.output import check_output, finish, progress, tell
from sipit.record import Stopwatch

_SUBJECT = "A model, MODEL@dtype=…,attention=…,cache=…,batch=…,padding=…,threads=…, or a states file of several layers."
_KINDS = {verdict.value: verdict for verdict in (Verdict.NOT_ROUNDING, Verdict.UNDECIDED)}


def compare(
    first: Annotated[str, typer.Argument(help=_SUBJECT)],
    second: Annotated[str, typer.Argument(help="What is compared with it, alike.")],
    prompts: Prompts = None,
    no_special_tokens: NoSpecialTokens = False,
    rate: Annotated[float, typer.Option(help="Of false alarms in the whole comparison.")] = 0.01,
    fail_on: Annotated[
        str | None,
        typer.Option(help="End with 0 unless this was found: not_rounding, undecided, or both between commas."),
    ] = None,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Tell rounding from a bug: where two runs of a network first differ by more than rounding explains.

    Example: sipit compare smollm2 smollm2@dtype=bfloat16,batch=4 --fail-on not_rounding
    """
    check_output(output)
    failing = _failing(fail_on)
    watch = Stopwatch()
    from sipit.privacy.record import comparison_record
    from sipit.prompts.reading import read_prompts

    record = comparison_record(
        first,
        second,
        None if prompts is None else read_prompts(Path(prompts)),
        rate=rate,
        special_tokens=not no_special_tokens,
        seed=seed,
        device=device,
        dtype=dtype,
        stages=progress,
        watch=watch,
    )
    judged = failing is None or record.verdict in failing
    finish(record, as_json=as_json, output=output, show=lambda: _show(record.result), judged=judged)


def _failing(names: str | None) -> set[Verdict] | None:
    """What a gate fails on; None for the exit status of the verdict."""
    if names is None:
        return None
    parts = [part.strip() for part in names.split(",")]
    if not all(part in _KINDS for part in parts):
        raise InvalidInput(f"Expected --fail-on {' or '.join(_KINDS)}, but got {names!r}; choose of them.")
    return {_KINDS[part] for part in parts}


def _show(result: dict[str, Any]) -> None:
    tell(f"{result['kind']}: {result['reason']}")
    from sipit.report.wording import count

    looked = [count(result["prompts"], "prompt"), count(result["positions"], "position")]
    looked.append(count(len(result["layers"]), "layer"))
    alarms = f"; false alarms: {result['false_alarm_rate']:g} of comparisons" if result["calibration"] else ""
    tell(f"  {', '.join(looked)}{alarms}")
