"""`sipit leak`: how much each defence hides, and what it costs the model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofs.arguments import real_in
from proofs.errors import InvalidInput
from sipit.cli.options import Device, Dtype, Json, Model, NoSpecialTokens, Output, Prompts, Seed, parse_layers
from sipit.cli.output import check_output, finish, load, progress, say, tell, terminal
from sipit.record import Stopwatch

if TYPE_CHECKING:
    from sipit.models import LanguageModel
    from sipit.states.files import States


def leak(
    model: Model,
    defences: Annotated[str | None, typer.Option(help="Names between commas; default: all that there are.")] = None,
    strengths: Annotated[
        str | None,
        typer.Option(help="Numbers between commas: sizes over the mean norm, bits, ranks or shares; default: its own."),
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Blocks 1…L, such as 1,15; default: half depth.")] = None,
    prompts: Prompts = None,
    no_special_tokens: NoSpecialTokens = False,
    released: Annotated[
        Path | None,
        typer.Option(help="States of --prompts as a defence of yours let them out, instead of --defences."),
    ] = None,
    candidates: Annotated[
        int, typer.Option(help="The attacker's shortlist; a vocabulary of no more is exhausted.")
    ] = 512,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter prompts, outer strengths only.")] = False,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="How often what is left to chance is drawn, from seeds that count up.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Measure what leaks: tokens read from defended states by an attacker who is told the defence, beside its cost.

    Stopped work is resumed by the same command: finished prompts are kept in the cache.

    Example: sipit leak smollm2 --defences gaussian,bits --layers 15 --quick -o report.html
    """
    check_output(output)
    chosen = (defences, strengths) != (None, None) or seeds != 1 or quick
    if released is not None and (prompts is None or chosen):
        raise InvalidInput(
            "Expected --prompts beside --released, and no --defences, --strengths, --seeds or --quick, since the "
            "states have left already; correct the command."
        )
    chosen_strengths = None if strengths is None else [_number(part.strip()) for part in strengths.split(",")]
    watch = Stopwatch()
    from sipit.prompts.reading import read_prompts, tokenize

    named = None if layers is None else parse_layers(layers)
    texts = None if prompts is None else read_prompts(prompts)
    loaded = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.privacy.record import leak_record

    ids = None if texts is None else tokenize(loaded, texts, special_tokens=not no_special_tokens)
    record = leak_record(
        loaded,
        ids,
        released=None if released is None else _left(released, named, loaded),
        layers=named,
        defences=None if defences is None else [name.strip() for name in defences.split(",")],
        strengths=chosen_strengths,
        candidates=candidates,
        quick=quick,
        seed=seed,
        seeds=seeds,
        stages=progress,
        announce=_announce,
        watch=watch,
    )
    finish(record, as_json=as_json, output=output, show=lambda: _show(record.result))


def _left(path: Path, layers: list[int] | None, model: "LanguageModel") -> "States":
    """The states of a file; their layer is in it, or the one that is named."""
    from sipit.states.files import read_states

    if layers is not None and len(layers) != 1:
        raise InvalidInput(f"Expected one layer with --released, but got --layers {layers}; name that of the states.")
    return read_states(path, layer=None if layers is None else layers[0], model=model)


def _announce(seconds: float, memory: float | None) -> None:
    much = "" if memory is None else f" and {memory:.1f} GiB of memory"
    say(f"this takes about {seconds:.0f} seconds{much}")


def _number(text: str) -> float:
    found = real_in(text)
    if found is None:
        raise InvalidInput(f"Expected numbers such as 0.1,1, but got --strengths {text!r}; correct them.")
    return found


def _show(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("layer", "defence", "strength", "tokens", "prompts", "ambiguous", "wrong", "KL", "same top", box=None)
    for one in result["curves"]:
        kl, same = one["kl"], one["same_top1"]
        table.add_row(
            str(one["layer"]), one["defence"], f"{one['strength']:g}",
            f"{one['recovered_tokens']} of {one['tokens']}", f"{one['recovered_prompts']} of {one['prompts']}",
            str(one["ambiguous"]), str(one["wrong"]),
            "-" if kl is None else f"{kl['mean']:.3g}", "-" if same is None else f"{100 * same:.0f} %",
        )  # fmt: skip
    terminal().print(table)
    if result["reason"]:
        tell(f"undecided: {result['reason']}")
