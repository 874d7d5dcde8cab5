"""`sipit prove`: the theorems of the paper, checked by machine on small networks."""

from enum import StrEnum
from typing import Annotated

import typer

from proofs.errors import InvalidInput
from sipit.cli.options import Json, Output, Seed
from sipit.cli.output import check_output, finish, tell
from sipit.cli.parsing import Command
from sipit.models.names import chosen

TOY = "tiny-gpt2"

prove = typer.Typer(
    help="Check a theorem by machine on small networks.\n\n"
    "Example: sipit prove generic-position --positions rope --context 3",
    rich_markup_mode=None,
)


@prove.command("witness", cls=Command)
def witness(
    vocabulary: Annotated[int, typer.Option(help="Number of tokens.")] = 3,
    context: Annotated[int, typer.Option(help="Largest number of tokens of a prompt.")] = 3,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Try the published witness, as printed and as repaired, on every ordered pair of prompts.

    Example: sipit prove witness --vocabulary 3 --context 3
    """
    check_output(output)
    from sipit.claims.prove import prove_witness

    record = prove_witness(vocabulary=vocabulary, context=context)
    finish(
        record, as_json=as_json, output=output,
        show=lambda: tell(f"{record.verdict}: {record.result['statement']}"),
    )  # fmt: skip


class Positions(StrEnum):
    """Where positions enter the small decoder."""

    LEARNED = "learned"
    ROPE = "rope"
    ALIBI = "alibi"
    T5 = "t5"
    NONE = "none"


class Norm(StrEnum):
    """The norm at the input of each branch."""

    LAYERNORM = "layernorm"
    RMSNORM = "rmsnorm"
    NONE = "none"


class Activation(StrEnum):
    """The activation of the two-layer step."""

    GELU = "gelu"
    GELU_TANH = "gelu-tanh"
    SILU = "silu"
    TANH = "tanh"
    RELU = "relu"


@prove.command("generic-position", cls=Command)
def generic_position(
    context: Annotated[
        int, typer.Option(help="Largest number of tokens of a prompt; with --bos those behind it, so T <= context + 1.")
    ] = 3,
    model: Annotated[str | None, typer.Option(help="tiny-<family>, through its own class.")] = None,
    positions: Annotated[Positions | None, typer.Option(help="Of a small decoder, instead of a model.")] = None,
    norm: Annotated[Norm, typer.Option(help="At the input of each branch.")] = Norm.LAYERNORM,
    activation: Annotated[Activation, typer.Option(help="Of the two-layer step.")] = Activation.GELU_TANH,
    residual: Annotated[bool, typer.Option("--residual/--no-residual", help="Skip connections.")] = True,
    post_norm: Annotated[bool, typer.Option("--post-norm", help="The norm behind each sum instead.")] = False,
    tied: Annotated[
        bool, typer.Option("--tied", help="Unembed with the embedding (the state does not read it).")
    ] = False,
    bos: Annotated[bool, typer.Option("--bos", help="A reserved first token in front of every prompt.")] = False,
    depth: Annotated[int, typer.Option(help="Blocks of the small decoder.")] = 1,
    width: Annotated[int, typer.Option(help="Of the small decoder.")] = 4,
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Settle every pattern of prompt pairs: they differ almost surely, they always collide, or it stays open.

    Example: sipit prove generic-position --positions rope --context 3
    """
    check_output(output)
    if (model is None) == (positions is None):
        raise InvalidInput("Expected either --model or --positions, but got both or neither; give one of them.")
    chosen = {
        "--norm": norm is not Norm.LAYERNORM,
        "--activation": activation is not Activation.GELU_TANH,
        "--no-residual": not residual,
        "--post-norm": post_norm,
        "--depth": depth != 1,
        "--width": width != 4,
    }
    if model is not None and any(chosen.values()):
        named = ", ".join(option for option, given in chosen.items() if given)
        raise InvalidInput(
            f"Expected --positions beside {named}, but got --model; such options are of a small decoder."
        )
    from numerics.graphs.variants import Variant
    from sipit.claims.prove import prove_generic_position

    variant = None
    if positions is not None:
        variant = Variant(positions.value, norm.value, activation.value, residual, depth, width, post_norm)
    record = prove_generic_position(context=context, bos=bos, model=model, variant=variant, tied=tied, seed=seed)

    def show() -> None:
        result = record.result
        lines = [f"{record.verdict}: {result['statement']}"]
        lines += [f"  collide, {c['family']}: {c['first']} and {c['second']}" for c in result["collisions"][:20]]
        lines += [f"  collide, {c['family']}: two prompts of {c['lengths'][0][0]} tokens" for c in result["longer"]]
        if result["every_length"] is not None:
            lines.append(f"  for prompts of every length collide {result['every_length']['collide']}")
        lines += [
            f"  {r['dtype']} ({r['attention']} attention) reports a distance of {r['distance']:.2e} "
            f"between {r['first']} and {r['second']}"
            for r in result["rounding"]
            if r["dtype"] != "float64"
        ]
        lines += [
            f"  {r['dtype']} ({r['attention']} attention) sets runs of {r['lengths'][0]} and {r['lengths'][1]} apart "
            f"for {r['apart']} of {r['tokens']} tokens, by up to {r['largest']:.2e}"
            for r in result["rounding_of_runs"]
            if r["dtype"] == "bfloat16"
        ]
        if result["collisions_undecided"]:
            lines.append(f"  not all collisions were looked for: {result['collisions_undecided']}")
        lines += [f"  undecided: {first} and {second}" for first, second in result["open"][:20]]
        tell("\n".join(lines))

    finish(record, as_json=as_json, output=output, show=show)


@prove.command("training-step", cls=Command)
def training_step(
    model: Annotated[
        str | None, typer.Option(help=f"tiny-<family>: its class, with one block and three tokens; default: {TOY}.")
    ] = None,
    width: Annotated[int, typer.Option(help="Of the states.")] = 4,
    rate: Annotated[str, typer.Option(help="The step size, exactly: a rational.")] = "1/10",
    optimizer: Annotated[
        str, typer.Option(help="gd, weight-decay, clip-value, clip-norm, sign, heavy-ball, adam or adamw.")
    ] = "gd",
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Certify that the Jacobian determinant of an optimizer step does not vanish identically.

    Example: sipit prove training-step --rate 1/10
    """
    check_output(output)
    from sipit.claims.prove import prove_training_step

    name = chosen(TOY) if model is None else model
    record = prove_training_step(model=name, width=width, rate=rate, optimizer=optimizer, seed=seed)

    def show() -> None:
        result = record.result
        lines = [f"{record.verdict}: {result['statement']}"]
        lines += [f"  determinant, one sample: {result['determinant']['midpoint']}"]
        for word in ("follows", "open"):
            lines += [f"  {word}: {line['statement']} ({line['reason']})" for line in result[word]]
        tell("\n".join(lines))

    finish(record, as_json=as_json, output=output, show=show)
