"""`sipit certify`: rigorous lower bounds on the distances between the states of prompts."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.arguments import exact_in, whole_in
from proofs.errors import InvalidInput
from sipit.cli.options import Device, Dtype, Json, Model, NoSpecialTokens, Output, Seed
from sipit.cli.output import check_output, finish, load, progress, tell
from sipit.record import provenance

if TYPE_CHECKING:
    from sipit.models import LanguageModel
    from sipit.states.files import States


def certify(
    model: Model,
    prompts: Annotated[Path, typer.Option(help='Prompt file: .txt, or .jsonl ({"text": …} or {"token_ids": […]}).')],
    layer: Annotated[str | None, typer.Option(help="Block 0…L, before the final norm; default: half depth.")] = None,
    bits: Annotated[
        str, typer.Option(help="Bits after the point, or 'auto': raised until every pair is decided.")
    ] = "auto",
    no_special_tokens: NoSpecialTokens = False,
    no_noise: Annotated[
        bool, typer.Option("--no-noise", help="Leave out the noise of float runs, layer by layer.")
    ] = False,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            help="The one prompt is a prefix: certify it followed by each of the first N tokens, or of 'all'."
        ),
    ] = None,
    states: Annotated[
        Path | None, typer.Option(help="An observed state: which of the prompts can it be of, within --noise?")
    ] = None,
    noise: Annotated[str, typer.Option(help="How far (L2) the observed state may be from the true one.")] = "0",
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prove, for the weights at hand, that the states of the given prompts are at least so far apart.

    Example: sipit certify smollm2 --prompts prompts.txt --layer 15 -o record.json
    """
    check_output(output)
    chosen, width, rows = (None if given is None else whole_in(given) for given in (layer, bits, vocabulary))
    if layer is not None and chosen is None:
        raise InvalidInput(f"Expected a layer number, but got --layer {layer}; the final norm is not covered.")
    if bits != "auto" and width is None:
        raise InvalidInput(f"Expected a number of bits or 'auto', but got --bits {bits}; leave it out.")
    if vocabulary not in (None, "all") and rows is None:
        raise InvalidInput(f"Expected a number of tokens or 'all', but got --vocabulary {vocabulary[:40]}; give one.")
    from sipit.claims.certify import certify as run
    from sipit.prompts.reading import read_prompts

    if noise != "0" and states is None:
        raise InvalidInput(
            "Expected --states beside --noise, but got none; name the observed states, or leave it away."
        )
    allowed = _exact(noise)
    texts = read_prompts(prompts)
    loaded = load(model, dtype=dtype, device=device, seed=seed)
    observed = None
    if states is not None:
        seen = _observed(states, chosen, loaded)
        seen.check(loaded)
        chosen, observed = seen.layer, (seen[0][-1].double().tolist(), allowed)
    tokens = loaded.vocabulary_size if vocabulary == "all" else rows
    with progress("tokens" if tokens else "prompts") as report:
        record = run(
            loaded, texts, layer=chosen, bits=width,
            special_tokens=not no_special_tokens, budget=not no_noise, vocabulary=tokens, observed=observed,
            progress=report,
        )  # fmt: skip

    exact = {name: value for name, value in record.provenance.items() if value is not None}
    record = replace(record, provenance=provenance(loaded, seed=seed) | exact)

    def show() -> None:
        result = record.result
        lines = [f"{record.verdict}: {result['certified']} of {result['pairs']} pairs certified, {result['bits']} bits"]
        lines.append(f"  {result['statement'] or result['reason']}")
        if result["matches"] is not None:
            lines.append(f"  the observed state can be of prompts {result['matches']}; unique: {result['unique']}")
        if "closest_text" in result:
            texts = " and ".join(f"{token} {text!r}" for token, text in zip(
                result["closest"] or [], result["closest_text"], strict=True))  # fmt: skip
            lines.append(f"  the closest of the tokens: {texts}")
        kind = "tokens" if tokens else "prompts"
        for pair in result["uncertified"][:20]:
            family = f" ({pair['family']})" if "family" in pair else ""
            lines.append(f"  {kind} {pair['first']} and {pair['second']}: {pair['reason']}{family}")
        if result["collisions_undecided"]:
            lines.append(f"  whether open pairs are equal was not told: {result['collisions_undecided']}")
        lines += [f"  idealised: {line}" for line in result["idealisations"]]
        tell("\n".join(lines))

    finish(record, as_json=as_json, output=output, show=show)


def _observed(path: Path, layer: int | None, model: "LanguageModel") -> "States":
    """The states of one prompt behind a block, from a file."""
    from sipit.states.files import read_states

    found = read_states(path, layer=layer, model=model)
    if len(found) != 1:
        raise InvalidInput(f"Expected the states of one prompt, but {path} has those of {len(found)}; capture one.")
    if found.observation.sites != ("residual",) or not isinstance(found.layer, int):
        raise InvalidInput(
            f"Expected the residual stream at one layer, but {path} has {found.observation.words}; capture that."
        )
    return found


def _exact(text: str) -> Fraction:
    """A number that is not negative, exactly."""
    exact = exact_in(text)
    if exact is not None and exact >= 0:
        return exact
    raise InvalidInput(f"Expected a distance of at least 0, but got --noise {text[:40]}; write it like 1e-3 or 1/1000.")
