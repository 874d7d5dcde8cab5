"""`sipit check`: which hypotheses of the theorems an architecture, and its weights, meet."""

from enum import StrEnum
from typing import Annotated

import typer

from proofs.arguments import whole_in
from proofs.errors import InvalidInput
from sipit.cli.options import Device, Dtype, Json, Output, Seed
from sipit.cli.output import check_output, finish, progress, tell


class Attention(StrEnum):
    """The attention implementations that can be captured."""

    EAGER = "eager"
    SDPA = "sdpa"


def check(
    model: Annotated[
        str, typer.Argument(help="smollm2, tiny-<family>, a model directory, a hub id, or a config.json alone.")
    ],
    layer: Annotated[str | None, typer.Option(help="Block 0…L, before the final norm; default: the last.")] = None,
    attention: Annotated[Attention, typer.Option(help="Which attention implementation to capture.")] = Attention.EAGER,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "auto",
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Find the exact nearest embedding rows, however large the table.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prove the map to the states analytic, or list every place where it is not; name structural collisions.

    Example: sipit check tiny-llama -o record.json
    """
    chosen = None if layer is None else whole_in(layer)
    if layer is not None and chosen is None:
        raise InvalidInput(
            f"Expected a layer number, but got --layer {layer}; the final norm is not part of the proof."
        )
    check_output(output)
    from proofs.kernel.regularity import in_words
    from sipit.claims.check import check_model
    from sipit.report.chapters.check import refuting

    record = check_model(
        model,
        layer=chosen,
        attention=attention.value,
        seed=seed,
        dtype=dtype,
        device=device,
        nearest=nearest,
        stages=progress,
    )

    def show() -> None:
        result = record.result
        lines = [f"{model}, state after {result['layer']} blocks: the map {in_words(result['regularity'])}"]
        reasons = f" ({' and '.join(refuting(result))})" if refuting(result) else ""
        lines.append(f"  hypotheses of the theorems: {record.verdict}{reasons}")
        lines += [
            f"  {o['operation']} ({o['regularity']}) in {o['module']}, {o['source']}: {o['reason']}"
            for o in result["obstructions"]
        ]
        if result["witness"] is not None:
            witness = result["witness"]
            lines.append(f"  witness: {witness['subject']}: {witness['claim']}, by at least {witness['separation']}")
        lines.append(f"  positions: {result['positions']}; conditions discharged: {result['conditions']['discharged']}")
        for family in result["structural_collisions"]:
            by = [one["theorem"] for one in result["theorems"] if one["claim"] == family["family"]]
            lines += [f"  collisions, {family['family']}: {family['statement']}", f"    by {', '.join(by)}"]
        if result["collisions_undecided"]:
            lines.append(f"  collisions: undecided: {result['collisions_undecided']}")
        placed = result["classification"]
        if placed is not None:
            lines.append(f"  over the reals collide {placed['without_bos']}; behind a BOS {placed['behind_bos']}")
            lines.append(f"    by {placed['by']}; {placed['within']}")
        duplicates = result["duplicate_embeddings"]
        if duplicates is not None:
            lines.append(f"  embedding rows: {duplicates['rows']}, distinct: {duplicates['unique_rows']}")
            suspects = duplicates["suspect_rows"]
            if duplicates["zero_rows"] or suspects:
                lines.append(f"  of zeros: {len(duplicates['zero_rows'])}; suspected to be untrained: {len(suspects)}")
            if not duplicates["nearest_looked_for"]:
                lines.append("  nearest rows: not looked for in a table so large; --nearest does, with an estimate")
        lines.append(f"  {result['law']['hypothesis']}: not checked. {result['law']['says']}")
        tell("\n".join([*lines, *(f"  idealised: {line}" for line in result["idealisations"])]))

    finish(record, as_json=as_json, output=output, show=show)
