"""Options, with one wording each, and how their words are read."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from proofs.arguments import real_in, whole_in
from proofs.errors import InvalidInput
from sipit.cli.output import as_text

if TYPE_CHECKING:
    from sipit.inversion.record import Places
    from sipit.models import LanguageModel
    from sipit.models.network import Layer
    from sipit.prompts.reading import Prompt

Model = Annotated[
    str, typer.Argument(help="smollm2, tiny-<family> (for example tiny-gpt2), a model directory, or a hub id.")
]
Device = Annotated[str, typer.Option(help="Where the model runs, for example cpu, cuda or cuda:1.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="What the model computes in: float64, float32, bfloat16 (or bf16), float16 (or fp16), or auto: as stored."
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**63 - 1, help="Draws the parameters of a tiny model, and whatever else is left to chance."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON record on standard output, and nothing else there.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Write the record (.json), or a page of it (.md, .html).")
]
LayerName = Annotated[
    str | None,
    typer.Option(
        "--layer", help="Block 0…L, or 'final' (after the final norm); default: the manifest's, else half depth."
    ),
]
Observe = Annotated[
    str | None,
    typer.Option(
        "--observe",
        help="What is observed of block l (residual, the default, centred, mid, attention-out, mlp-out), made of "
        "residual l by the next block (normed, keys, values, keys-unrotated, latent, experts, router-scores), or of "
        "the network (logits, logprobs); several joined by commas, with --layer 0,3 where caches or routers of "
        "several are.",
    ),
]
Top = Annotated[int | None, typer.Option("--top", help="Of logprobs: how many of every position, the largest.")]
Prompts = Annotated[
    Path | None, typer.Option(help='Prompt file: .txt (one per line) or .jsonl ({"text": …} or {"token_ids": […]}).')
]
Text = Annotated[str | None, typer.Option(help="One prompt.")]
NoSpecialTokens = Annotated[
    bool, typer.Option("--no-special-tokens", help="Tokenise text without the tokenizer's special tokens.")
]

_IDS = re.compile(r"\s*\[[\s\d,.+-]*\]?\s*")  # ids, or meant as such; other text may begin with a bracket too


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


Where = Annotated[Engine, typer.Option("--engine", help="local, or ray (needs the extra sipit[cluster]).")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster to join; default: start a local one.")]


def check_engine(engine: Engine, address: str | None) -> None:
    """Raises InvalidInput where an address is given to the local engine."""
    if address is not None and engine is not Engine.RAY:
        raise InvalidInput("Expected --engine ray with the address of a cluster, but got the local engine; add it.")


def parse_layer(name: str | None) -> "Layer | None":
    """The layer of its name on the command line.

    Raises:
        InvalidInput: neither a number nor `final`.
    """
    if name is None:
        return None
    if name == "final":
        return "final"
    number = whole_in(name, signed=True)
    if number is None:
        raise InvalidInput(f"Expected a layer number or 'final', but got --layer {name}; choose one.")
    return number


def parse_named_layers(name: str | None) -> "Layer | tuple[Layer, ...] | None":
    """The layer of its name, or several between commas, in their order.

    Raises:
        InvalidInput: neither numbers nor `final`.
    """
    if name is None or "," not in name:
        return parse_layer(name)
    layers: list[Layer] = []
    for part in name.split(","):
        layer = parse_layer(part.strip())
        assert layer is not None  # a part is a text
        layers.append(layer)
    if len({*layers}) < len(layers):
        raise InvalidInput(f"Expected different layers, but got --layer {name}; name each once.")
    return tuple(layers)


def parse_layers(names: str) -> list[int]:
    """Several layers of their numbers, such as 1,15,30, increasing.

    Raises:
        InvalidInput: not numbers between commas, or one of them twice.
    """
    numbers = [whole_in(part.strip()) for part in names.split(",")]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise InvalidInput(f"Expected layer numbers such as 1,15,30, but got {names}; correct them.")
    if len({*found}) < len(found):
        raise InvalidInput(f"Expected different layers, but got {names}; name each once.")
    return sorted(found)


def parse_several(names: str, depth: int) -> list[int]:
    """The layers of `all`, 0 to the depth of a model, or of numbers between commas, increasing.

    Raises:
        InvalidInput: neither.
    """
    return list(range(depth + 1)) if names == "all" else parse_layers(names)


def parse_positions(text: str | None) -> "Places":
    """Where rows stand: all, last, or positions such as 0,3,5.

    Raises:
        InvalidInput: none of these.
    """
    if text in {None, "all"}:
        return None
    if text == "last":
        return "last"
    numbers = [whole_in(part.strip(), signed=True) for part in str(text).split(",")]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise InvalidInput(f"Expected all, last or positions such as 0,3,5, but got {text!r}; correct it.")
    return found


def parse_tolerance(text: str) -> float | None:
    """A largest relative residual; None for auto.

    Raises:
        InvalidInput: neither a number nor `auto`.
    """
    if text == "auto":
        return None
    found = real_in(text)
    if found is None:
        raise InvalidInput(f"Expected --tolerance auto or a number, but got {text!r}; give one of them.")
    return found


def parse_tokens(
    model: "LanguageModel",
    text: str | None,
    option: str,
    *,
    special_tokens: bool,
    end: Literal["front", "behind"] = "front",
) -> tuple[int, ...] | None:
    """The token ids of an option: text, or a list of ids in brackets; None where it was not given.

    Text gets the special tokens that the tokenizer puts at that end of a prompt, if they are wanted.

    Raises:
        InvalidInput: ids that are none of the model's, or text where there is no tokenizer.
    """
    from sipit.prompts.reading import special_ends, tokenize

    if text is None:
        return None
    if not _IDS.fullmatch(text):
        ids = tokenize(model, [as_text(text)], special_tokens=False, called=option)[0]
        front, behind = special_ends(model) if special_tokens else ((), ())
        return (*front, *ids) if end == "front" else (*ids, *behind)
    try:
        ids: Any = json.loads(text)
    except ValueError:
        raise InvalidInput(f"Expected text or ids such as [1,2,3], but got {option} {text!r}; correct it.") from None
    return tuple(tokenize(model, [ids], called=option)[0])


def chosen_prompts(text: str | None, prompts: Path | None) -> "list[Prompt]":
    """The prompts of `--text` or `--prompts`.

    Raises:
        InvalidInput: both or neither were given, or the file is not a prompt file.
    """
    from sipit.prompts.reading import read_prompts

    if (text is None) == (prompts is None):
        raise InvalidInput("Expected either --text or --prompts, but got both or neither; give one of them.")
    if prompts is not None:
        return read_prompts(prompts)
    assert text is not None  # exactly one of the two is given
    return [as_text(text)]
