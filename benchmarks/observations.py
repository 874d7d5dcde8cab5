"""What comes back from which tensor, at which layer, in which numbers it was stored: exact, ambiguous, wrong, calls.

    python benchmarks/observations.py [--model NAME] [--prompts 5] [--length 32] [--layers 1,15,29] [--budget 60]
                                      [--sites keys,values,keys+values,keys-unrotated] [--quick] [-o FILE.json]
                                      [--stored float32,rounded,int8,int4]

Natural prompts, captured by the model itself and inverted without being told anything but the site and the layer.
`float32` is what was captured, `rounded` the same rounded to bfloat16, `int8` and `int4` rounded with one scale for
each head and row, as caches are kept; `bfloat16` is captured, and inverted, by the model in bfloat16, as `--dtype auto`
would. Further sites, which have no layer, are `logits`, `logprobs`, and `logprobs-20` and `logprobs-100`, the largest
of these. Seconds are CPU seconds a prompt, behind probes and noise, which are measured once and kept. Rows are written
as they are found, and those that FILE.json has are not measured again. `--quick` is tiny-llama.
"""

import json
import statistics
import time
from itertools import product
from pathlib import Path

import torch
from options import Options, among, answered, seconds, several, whole
from table import Row, Run

import sipit
from numerics.formats.rounding import Rounding, round_to_bits
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.models.copies import in_dtype
from sipit.prompts.builtin_text import random_tokens, section_prompts

SITES = ("keys", "values", "keys+values", "keys-unrotated", "residual", "mid", "attention-out", "mlp-out")
HEAD = {"logits": None, "logprobs": None, "logprobs-20": 20, "logprobs-100": 100}  # and how many are kept; no layer


def by_head(bits: int, head: int) -> Rounding:
    """Rounds rows (T, n) to whole steps, one scale for each head and row."""
    rounded = round_to_bits(bits)
    return lambda rows: rounded(rows.reshape(len(rows), -1, head)).reshape(rows.shape)


def storages(head: int) -> dict[str, Rounding]:
    """How captured rows are stored, by name."""
    as_they_are = torch.Tensor.clone
    return {
        "float32": as_they_are,
        "bfloat16": as_they_are,
        "rounded": torch.Tensor.bfloat16,
        "int8": by_head(8, head),
        "int4": by_head(4, head),
    }


def main() -> None:
    """Inverts the prompts at every site, layer and storage, and counts how it ended."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=whole(), default=5)
    parser.add_argument("--length", type=whole(), default=32)
    parser.add_argument("--layers", type=several(), default=[1, 15, 29])
    parser.add_argument(
        "--sites", type=among([*SITES, *HEAD]), default=["keys", "values", "keys+values", "keys-unrotated"]
    )
    parser.add_argument("--stored", type=among(storages(1)), default=["float32", "rounded", "int8", "int4"])
    parser.add_argument("--budget", type=seconds, default=60.0, help="seconds of each inversion")
    parser.add_argument("--quick", action="store_true", help="tiny-llama at layer 1, two prompts of 8 tokens")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.model, options.layers, options.prompts, options.length = "tiny-llama", [1], 2, 8
    model = sipit.load_model(options.model)
    prompts = section_prompts(model, count=options.prompts, length=options.length)
    if not prompts:
        drawn = torch.Generator().manual_seed(0)
        prompts = random_tokens(model, (options.prompts, options.length), generator=drawn).tolist()
    config = model.module.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    run = Run("observations", "CPU")
    if options.output is not None and options.output.exists():
        run.rows += [Row(**row) for row in json.loads(options.output.read_text())["rows"]]
    known = {row.task for row in run.rows}
    of = f"{options.model}, {len(prompts)} prompts of {options.length} tokens"
    for site, layer, stored in product(options.sites, options.layers, options.stored):
        task = f"{site}, {stored}; {of}" if site in HEAD else f"{site} at layer {layer}, {stored}; {of}"
        if task not in known:
            known.add(task)
            used = in_dtype(model, torch.bfloat16) if stored == "bfloat16" else model
            observe = site.split("-")[0] if site in HEAD else site.replace("+", ",")
            at = None if site in HEAD else layer
            captured = sipit.capture(used, prompts, layer=at, observe=observe, top=HEAD.get(site))
            kept = [storages(head)[stored](rows) for rows in captured]
            states = sipit.States(kept, observation=captured.observation).beside(used)
            run.add(row(task, used, states, prompts, options.budget))
            run.write(options.output)


def row(task: str, model: sipit.LanguageModel, states: sipit.States, prompts: list[list[int]], budget: float) -> Row:
    """How the prompts come back from states that nothing is said of."""
    inverter = Inverter.open(model, states, budget=budget)
    began = time.process_time()
    found = inverter.invert_all(states)
    used = (time.process_time() - began) / len(prompts)
    exact = sum(
        one.outcome is Outcome.RECOVERED and one.token_ids == ids for one, ids in zip(found, prompts, strict=True)
    )
    ended = {outcome: sum(one.outcome is outcome for one in found) for outcome in Outcome}
    named = [pair for one, ids in zip(found, prompts, strict=True) for pair in zip(one.token_ids, ids, strict=True)]
    classes = model.token_classes
    wrong = sum(token is not None and token != int(classes[true]) for token, true in named)
    right = sum(token is not None for token, _ in named) - wrong
    calls = statistics.median(one.forward_passes for one in found)
    parts = [f"exact {exact}", f"ambiguous {ended[Outcome.AMBIGUOUS]}", f"not found {ended[Outcome.NOT_FOUND]}",
             f"budget ended {ended[Outcome.BUDGET_EXHAUSTED]}", f"tokens named {right} of {len(named)}",
             f"wrong {wrong}", f"calls {calls:g}"]  # fmt: skip
    return Row(task, "sipit", used, ", ".join(parts))


if __name__ == "__main__":
    answered(main)
