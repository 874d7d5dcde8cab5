"""An inversion against the least that it could cost: a forward over its prompt, loading its model, a shorter prompt.

    python benchmarks/limits.py [--parts forwards,use,long,check,geometry] [--layers 15,29] [--lengths 20,64,256]
                                [--model smollm2] [--quick] [-o FILE.json]

    forwards    natural and random prompts, beside one forward of the blocks up to the layer over the same prompt
    use         the command from an empty cache, at another layer, and with all at hand, beside loading the model
    long        the whole context, beside as many tokens in prompts of 64
    check       the command on a random model as large as Llama-3.2-1B in a file, beside reading that
    geometry    20 random tokens of such a model from its own states in bfloat16, beside
                the exhaustive search, extrapolated from some candidates

Seconds are those of processors. `forwards` and `long` run on one thread; probes and noise are at hand there. A wrong
token ends the program. `--quick` takes tiny-llama, prompts of eight tokens and a tiny geometry.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from gpu import SMALL, geometry
from options import Options, among, answered, several
from peers import empty_cache, resolved, timed
from side_by_side import TEXT
from table import OURS, Row, Run, besides

import sipit
from sipit.inversion.inverter import Inverter
from sipit.models.network import Network
from sipit.prefix.choice import single_opener
from sipit.prompts.builtin_text import random_tokens, section_prompts, sections

ONE_BILLION: dict[str, Any] = {
    "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
}  # fmt: skip
SHORT = 64  # tokens of the prompts that a long one is held against
TOKENS = 20  # that `geometry` inverts
SAMPLE = 1024  # candidates that the exhaustive search of `geometry` is extrapolated from
BUDGET = 1800  # seconds of one inversion


def main() -> None:
    """Runs the parts asked for, and keeps what each measured before the next begins."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=among(PARTS), default=",".join(PARTS))
    parser.add_argument(
        "--layers", type=several(1), default="15,29", help="of the prompts; the command's are 15 and 20"
    )
    parser.add_argument("--lengths", type=several(1), default="20,64,256")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--quick", action="store_true", help="tiny-llama, block 1, 8 tokens, a tiny geometry")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.shape, options.middle, options.behind, options.low = ONE_BILLION, 8, [15, 20], 7
    if options.quick:
        options.model, options.layers, options.lengths = "tiny-llama", [1], [8]
        options.shape, options.middle, options.behind, options.low = SMALL, 2, [1, 2], 1
    run = Run(f"limits{besides(options.parts, PARTS)}", "CPU")
    for name in options.parts:
        PARTS[name](run, options)
        run.write(options.output)


def forwards(run: Run, options: argparse.Namespace) -> None:
    """Medians over eight prompts, four of the longest; what a process computes once is not in them."""
    torch.set_num_threads(1)
    model = sipit.load_model(options.model)
    for layer in options.layers:
        for length in options.lengths:
            count = 4 if length > 2 * SHORT else 8
            chance = torch.Generator().manual_seed(1)
            kinds = {
                "natural": section_prompts(model, count=count, length=length),
                "random": random_tokens(model, (count, length), generator=chance).tolist(),
            }
            for kind, prompts in kinds.items():
                if prompts:  # a model without a tokenizer has no natural ones
                    beside_one_forward(run, model, layer, kind, prompts)


def beside_one_forward(run: Run, model: Any, layer: int, kind: str, prompts: list[list[int]]) -> None:
    """Prompts of one kind and length, each inverted and run."""
    states = sipit.capture(model, prompts, layer=layer, cached=False)
    inverter, network = Inverter.open(model, states, budget=BUDGET), Network(model, layer)
    inverter.invert(states[0])
    ours, plain, calls, back = [], [], [], 0
    for array, prompt in zip(states, prompts, strict=True):
        ids = torch.tensor([prompt])
        network.run(ids)
        plain.append(timed(lambda: network.run(ids))[1])  # noqa: B023
        found, seconds = timed(lambda: inverter.invert(array))  # noqa: B023
        back += resolved(model, found, prompt) == len(prompt)
        ours.append(seconds)
        calls.append(found.forward_passes)
    times = median(mine / one for mine, one in zip(ours, plain, strict=True))
    task = f"{len(prompts[0])} {kind} tokens, {model.name}, layer {layer}"
    answer = f"{back} of {len(prompts)} prompts, {median(calls):g} calls; {times:.3g} forwards"
    run.add(Row(task, OURS, median(ours), answer), Row(task, "one forward", median(plain), "", 1 / times))


def use(run: Run, options: argparse.Namespace) -> None:
    """The command as one meets it, each time in a process of its own."""
    first, second = options.behind
    load = ["-c", f"import sipit; sipit.load_model({options.model!r})"]
    with tempfile.TemporaryDirectory() as folder:
        spent = {
            f"an empty cache, layer {first}": command(folder, options.model, first),
            f"the next layer, {second}": command(folder, options.model, second),
            f"all at hand, layer {first}": command(folder, options.model, first),
        }
        loading, _ = process(folder, load)
    for name, seconds in spent.items():
        task = f"sipit invert {options.model}, one sentence, {name}"
        run.add(Row(task, OURS, seconds, "recovered"), Row(task, "loading the model", loading, "", loading / seconds))


def command(folder: str, model: str, layer: int) -> float:
    """Processor seconds of one inversion by the command, which has to give the sentence back."""
    seconds, output = process(folder, ["-m", "sipit", "invert", model, "--text", TEXT, "--layer", str(layer), "--json"])
    (prompt,) = json.loads(output)["result"]["prompts"]
    assert prompt["matches_truth"], prompt
    return seconds


def process(folder: str, words: list[str]) -> tuple[float, bytes]:
    """A Python of its own with its own cache: its processor seconds and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "SIPIT_CACHE": folder}
    done = subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.PIPE, check=False)
    assert done.returncode in (0, 1, 3), words  # whatever the verdict, but no fault
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def long(run: Run, options: argparse.Namespace) -> None:
    """All tokens that the model was made for, and as many in short prompts, extrapolated from four."""
    torch.set_num_threads(1)
    model = sipit.load_model(options.model)
    length = model.context or SHORT
    text = model.tokenizer("\n\n".join(sections()), verbose=False).input_ids if model.tokenizer else None
    prompt = text[:length] if text else random_tokens(model, (length,), generator=torch.Generator()).tolist()
    pieces = [prompt[at : at + SHORT] for at in range(0, length, max(SHORT, length // 4))]
    states = sipit.capture(model, [prompt, *pieces], layer=options.low, cached=False)
    inverter = Inverter.open(model, states, budget=BUDGET)
    inverter.invert(states[1])
    found, seconds = timed(lambda: inverter.invert(states[0]))
    known = resolved(model, found, prompt)
    answers = [timed(lambda array=array: inverter.invert(array)) for array in list(states)[1:]]
    for (answer, _), piece in zip(answers, pieces, strict=True):
        assert resolved(model, answer, piece) == len(piece)
    short = median(spent for _, spent in answers) * length / SHORT
    task = f"{length} tokens, {model.name}, layer {options.low}"
    run.add(
        Row(task, OURS, seconds, f"{known} recovered; {seconds / short:.3g} times the cost at {SHORT}; {memory()}"),
        Row(task, f"sipit, {length // SHORT} prompts of {SHORT}", short, f"from {len(pieces)}", short / seconds),
    )


def check_of_1b(run: Run, options: argparse.Namespace) -> None:
    """The command, which proves what it can of the network and looks through the vocabulary of the file."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        geometry(options.shape, torch.bfloat16, "cpu").module.save_pretrained(place)
        (file,) = place.glob("*.safetensors")
        seconds, output = process(folder, ["-m", "sipit", "check", str(place), "--json"])
        reading, _ = process(folder, ["-c", f"import pathlib; pathlib.Path({str(file)!r}).read_bytes()"])
        size = file.stat().st_size / 2**30
    found = json.loads(output)
    rows = found["result"]["duplicate_embeddings"]
    table = f"{options.shape['vocab_size']} × {options.shape['hidden_size']}"
    task = f"sipit check, geometry of {table}, a file of {size:.1f} GiB"
    answer = f"{found['verdict']}; {rows['unique_rows']} rows are unique; {memory(resource.RUSAGE_CHILDREN)}"
    run.add(Row(task, "sipit", seconds, answer), Row(task, "reading the file", reading, "", reading / seconds))


def geometry_of_1b(run: Run, options: argparse.Namespace) -> None:
    """Random weights in bfloat16 and states from the same arithmetic: nothing but the policy is at work."""
    torch.set_num_threads(os.cpu_count() or 1)
    model = geometry(options.shape, torch.bfloat16, "cpu")
    prompts = random_tokens(model, (1, TOKENS), generator=torch.Generator().manual_seed(7)).tolist()
    states = sipit.capture(model, prompts, layer=options.middle, cached=False)
    with empty_cache():
        inverter, opening = timed(lambda: Inverter.open(model, states, budget=BUDGET))
        began = time.monotonic()
        found, seconds = timed(lambda: inverter.invert(states[0]))
        wall = time.monotonic() - began
    known = resolved(model, found, prompts[0])
    task = (
        f"{TOKENS} random tokens, geometry of {model.vocabulary_size} × {model.width}, bfloat16, layer {options.middle}"
    )
    tested = sorted(token.candidates_tested for token in found.tokens)
    answer = (
        f"{known} recovered, 0 wrong, {tested[len(tested) // 2]} candidates in the middle and {tested[-1]} at most; "
        f"{wall:.3g} s on the wall; probe and noise before it {opening:.3g} s; {memory()}"
    )
    network = Network(model, options.middle)
    prefix = single_opener(network)(network)
    for position, token in enumerate(prompts[0][: TOKENS // 2]):
        prefix.extend(position, torch.tensor([[token]]))
        prefix.keep(0)
    sample = torch.arange(min(SAMPLE, model.vocabulary_size))
    _, some = timed(lambda: prefix.candidates(torch.full_like(sample, TOKENS // 2), sample))
    whole = some / len(sample) * model.vocabulary_size * TOKENS
    run.add(
        Row(task, OURS, seconds, answer),
        Row(task, "exhaustive", whole, f"extrapolated from {len(sample)} candidates in the middle", whole / seconds),
    )


def memory(whose: int = resource.RUSAGE_SELF) -> str:
    """The most that this process, or any that it started, has held."""
    return f"{resource.getrusage(whose).ru_maxrss / 2**20:.1f} GiB"


PARTS: dict[str, Callable[[Run, argparse.Namespace], None]] = {
    "forwards": forwards, "use": use, "long": long, "check": check_of_1b, "geometry": geometry_of_1b,
}  # fmt: skip

if __name__ == "__main__":
    answered(main)
