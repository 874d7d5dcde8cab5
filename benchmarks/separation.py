"""Enclosures of states: exact fixed point against plain Arb balls, on one captured graph in the same run.

    python benchmarks/separation.py [--layers 12] [--arb-layers 2] [--width 768] [--tokens 8]
                                    [--bits 360] [--quick] [-o FILE.json]

A random GPT-2 of the given geometry. Both evaluate the same graph for the same prompt to the same final radius. Arb
runs on the first `--arb-layers` blocks alone, at the bits that the whole network needs, because it is slow; the
comparison is of those blocks. Seconds are CPU seconds of one process. `--quick` is two blocks of width 64.
"""

import time
from pathlib import Path
from typing import Any

import flint
import numpy as np
import torch
import transformers
from options import Options, answered, whole
from table import Row, Run

from numerics.graphs.capture import capture_graph
from proofs.arithmetic.ball import Balls
from proofs.enclosures.segments import cuts, segments
from proofs.enclosures.trail import follow
from proofs.operations.interpreter import evaluate


def main() -> None:
    """Runs both and keeps their seconds."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=whole(), default=12)
    parser.add_argument("--arb-layers", type=whole(), default=2)
    parser.add_argument("--width", type=whole(64, 64), default=768)
    parser.add_argument("--tokens", type=whole(), default=8)
    parser.add_argument("--bits", type=whole(), default=360)
    parser.add_argument("--quick", action="store_true", help="two blocks of width 64, four tokens")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.layers, options.arb_layers, options.width, options.tokens, options.bits = 2, 1, 64, 4, 200
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=options.layers, n_embd=options.width, n_head=options.width // 64)
    state = transformers.GPT2LMHeadModel(config).state_dict()
    row = tuple(int(t) for t in np.random.default_rng(0).integers(0, config.vocab_size, options.tokens))
    run = Run("separation", "CPU")
    subject = f"GPT-2 of width {options.width}, {options.tokens} tokens, {options.bits} bits"
    sliced: dict[Any, Any] = {}
    for layers in (options.layers, options.arb_layers):
        graph = capture_graph(config, layers, "eager", length=options.tokens)
        weights = {name: state[name].numpy() for name, _ in graph.parameters()}
        parts = segments(graph, cuts(graph))
        for name in ("first prompt, weights cut", "next prompt"):
            began = time.process_time()
            trail = follow(parts, row, weights, options.bits, sliced)
            used = time.process_time() - began
            reached = trail.state.bits - trail.state.radius[0].bit_length()
            run.add(Row(f"{layers} blocks, {subject}", f"sipit, {name}", used, f"right to 2^-{reached}"))
    began = time.process_time()
    table = np.frompyfunc(flint.arb, 1, 1)
    taken = {name for name in weights if weights[name].shape[0] == config.vocab_size}
    with Balls(options.bits) as balls:
        exact = {
            name: w if name in taken else table(w.astype(np.float64).astype(object)) for name, w in weights.items()
        }
        for name in taken:  # only the rows of the prompt are needed as balls
            exact[name] = np.full(weights[name].shape, None, dtype=object)
            exact[name][list(row)] = table(weights[name][list(row)].astype(np.float64).astype(object))
        converted = time.process_time() - began
        began = time.process_time()
        found = evaluate(graph, {"tokens": np.array([row]), **exact}, balls)
        arb = time.process_time() - began
        answer = f"radius {balls.radius(found):.1e}; and {converted:.3g} s for the weights"
    run.add(Row(f"{options.arb_layers} blocks, {subject}", "Arb balls", arb, answer, arb / used))
    run.write(options.output)


if __name__ == "__main__":
    answered(main)
