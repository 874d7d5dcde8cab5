"""Inverters side by side: the same states, the same machine, one thread, CPU seconds.

    python benchmarks/peers.py [--layers 7,15,29] [--lengths 20,64] [--prompts 5] [--cap 60] [--positions 3]
                               [--peers exhaustive,gradient,tuned,joint] [--probes measured|kept]
                               [--model smollm2] [--quick] [-o FILE.json]

    exhaustive   the whole vocabulary at every position, over a prefix whose keys and values are kept
    gradient     the paper's policy as published: descent on one embedding, a test after every step (2510.15511)
    tuned        its best form found: Adam, 32 tests after 10 steps
    joint        all embeddings together, projected onto rows in every step (HardPrompts, 2302.03668)
    ours         draft and verify

Every answer is asserted: a position that a peer resolves has to carry the true token, and a peer that was not stopped
has to resolve all. The exhaustive search ends after so many positions, and its time is extrapolated by them; where a
peer was stopped at the cap, its ratio is a lower bound, and written so. All but ours run on the first prompt alone.
Training the probe is apart, and amortised over 100 prompts.
`--quick` takes tiny-llama and 8 tokens.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from options import Options, among, answered, seconds, several, whole
from table import OURS, Row, Run

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.policies import ExhaustivePolicy, GradientPolicy
from sipit.inversion.probes import trained_probes
from sipit.models.network import Network
from sipit.prompts.builtin_text import section_prompts
from sipit.states.files import States

AMORTISED = 100  # prompts that share the training of a probe


@dataclass(frozen=True)
class Result:
    """One inverter on prompts of one length at one layer.

    `seconds` are those spent for the `resolved` of `length` positions, `whole` those for all of them: the same, or
    extrapolated. `ratio` is `whole` over ours, a lower bound where `capped`.
    """

    peer: str
    layer: int
    length: int
    resolved: int
    seconds: float
    whole: float
    capped: bool
    extrapolated: bool
    runs: int
    ratio: float = 1.0
    ratio_amortised: float | None = None


def main() -> None:
    """Runs what is asked for, and keeps every result."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=several(), default="7,15,29")
    parser.add_argument("--lengths", type=several(1), default="20,64")
    parser.add_argument("--prompts", type=whole(), default=5, help="natural prompts that ours is the median of")
    parser.add_argument("--cap", type=seconds, default=60, help="seconds for each gradient or joint search")
    parser.add_argument("--positions", type=whole(3), default=3, help="of the exhaustive search")
    parser.add_argument("--peers", type=among(PEERS), default="exhaustive,gradient,tuned,joint")
    parser.add_argument("--probes", choices=("measured", "kept"), default="measured", help="kept: do not train anew")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--quick", action="store_true", help="tiny-llama, block 1, 8 tokens")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.model, options.layers, options.lengths, options.prompts, options.cap = "tiny-llama", [1], [8], 1, 5
    torch.set_num_threads(1)
    model = sipit.load_model(options.model)
    run = Run("inversion", "CPU")
    for layer in options.layers:
        training = probe_seconds(model, layer) if options.probes == "measured" else None
        for length in options.lengths:
            prompts = section_prompts(model, count=options.prompts, length=length)
            ours = best(model, prompts, layer)
            shared = None if training is None else ours.whole + training / AMORTISED
            for peer in ["ours", *options.peers]:
                found = ours if peer == "ours" else PEERS[peer](model, prompts[0], layer, options)
                found = replace(
                    found,
                    ratio=found.whole / ours.whole,
                    ratio_amortised=None if shared is None else found.whole / shared,
                )
                run.add(row(options.model, found))
        if training is not None:
            run.add(Row(f"{options.model}, layer {layer}", "sipit, training the probe (once)", training))
    run.write(options.output)


def row(model: str, result: Result) -> Row:
    """A row of the table: seconds for all positions, extrapolated where the answer says so."""
    answer = f"{result.resolved} of {result.length} tokens, {result.runs} forward passes"
    if result.extrapolated:
        answer += f", extrapolated from {result.seconds:.3g} s"
    if result.ratio_amortised is not None and result.peer != "ours":
        answer += f"; ratio {result.ratio_amortised:.3g} with the probe amortised over {AMORTISED} prompts"
    ours = result.peer == "ours"
    return Row(
        task=f"one prompt of {result.length} tokens, {model}, layer {result.layer}",
        method=OURS if ours else result.peer,
        seconds=result.whole,
        answer=answer,
        ratio=None if ours else result.ratio,
        bound=result.capped,
    )


def best(model: Any, prompts: list[list[int]], layer: int) -> Result:
    """Ours: the median over the prompts. What a process computes once, the rows of the probe, is not in it."""
    states = sipit.capture(model, prompts, layer=layer)
    inverter = Inverter.open(model, states)
    inverter.invert(states[0])
    times: list[float] = []
    runs: list[int] = []
    for array, prompt in zip(states, prompts, strict=True):
        inversion, seconds = timed(lambda array=array: inverter.invert(array))
        assert resolved(model, inversion, prompt) == len(prompt)
        times.append(seconds)
        runs.append(inversion.forward_passes)
    middle = median(times)
    return Result("ours", layer, len(prompts[0]), len(prompts[0]), middle, middle, False, False, int(median(runs)))


def exhaustive(model: Any, prompt: list[int], layer: int, options: argparse.Namespace) -> Result:
    """The plain algorithm, on the first positions alone where that is asked for."""
    length = len(prompt)
    count = min(length, options.positions)
    policy = ExhaustivePolicy(model.vocabulary_size, model.device)
    inversion, seconds = searched(model, prompt, layer, policy, budget=1e9, positions=count)
    assert resolved(model, inversion, prompt[:count]) == count
    assert all(token.candidates_tested == model.vocabulary_size for token in inversion.tokens)
    whole = seconds * length / count  # later positions have longer prefixes and cost a little more
    return Result("exhaustive", layer, length, count, seconds, whole, False, count < length, inversion.forward_passes)


def descending(name: str, policy: GradientPolicy) -> Callable[..., Result]:
    """The gradient policy in one of its forms, up to the cap."""

    def run(model: Any, prompt: list[int], layer: int, options: argparse.Namespace) -> Result:
        inversion, seconds = searched(model, prompt, layer, policy, budget=options.cap)
        length, known = len(prompt), resolved(model, inversion, prompt)
        capped = known < length
        return Result(name, layer, length, known, seconds, seconds, capped, False, inversion.forward_passes)

    return run


def joint(model: Any, prompt: list[int], layer: int, options: argparse.Namespace) -> Result:
    """All embeddings at once: the gradient is taken at the projection, and moves what is projected (2302.03668)."""
    (array,) = sipit.capture(model, [prompt], layer=layer)
    tolerance = Inverter.open(model, States((array,), layer), policy="nearest").tolerance.value
    network = Network(model, layer)
    rows = model.decoder.tables[0].weight.detach()
    halves = rows.norm(dim=1) ** 2 / 2
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(model.vocabulary_size, (len(prompt),), generator=generator)
    free = rows[start].clone().requires_grad_()
    optimizer = torch.optim.AdamW([free], lr=0.1, weight_decay=0.0)
    norms = array.norm(dim=1, keepdim=True)
    started, clock, most = time.process_time(), time.monotonic(), 0
    while most < len(prompt) and time.monotonic() - clock < options.cap:
        ids = (free.detach() @ rows.T - halves).argmax(1)
        projected = rows[ids].clone().requires_grad_()
        states = network.run_embeddings(ids[None], projected)
        relative = (states - array) / norms
        fits = relative.detach().norm(dim=1) <= tolerance
        most = max(most, int(fits.long().cumprod(0).sum()))  # the leading positions that fit behind fitting ones
        assert ids[: int(fits.long().cumprod(0).sum())].tolist() == prompt[: int(fits.long().cumprod(0).sum())]
        relative.square().sum().backward()
        free.grad = projected.grad
        optimizer.step()
    seconds = time.process_time() - started
    runs = network.work.forward_passes
    return Result("joint", layer, len(prompt), most, seconds, seconds, most < len(prompt), False, runs)


def searched(
    model: Any, prompt: list[int], layer: int, policy: Any, *, budget: float, positions: int | None = None
) -> tuple[Any, float]:
    """The inversion of the first positions of a prompt by a policy, and its CPU seconds."""
    (array,) = sipit.capture(model, [prompt], layer=layer)
    kind = "exhaustive" if isinstance(policy, ExhaustivePolicy) else "nearest"
    inverter = Inverter.open(model, States((array[:positions],), layer), policy=kind, budget=budget)
    return timed(lambda: replace(inverter, policy=policy).invert(array[:positions]))


def resolved(model: Any, inversion: Any, prompt: list[int]) -> int:
    """How many positions carry a token, all of them the true ones up to identical rows."""
    known = [(token.token_id, true) for token, true in zip(inversion.tokens, prompt, strict=True)]
    assert all(found is None or found == int(model.token_classes[true]) for found, true in known)
    return sum(found is not None for found, _ in known)


def probe_seconds(model: Any, layer: int) -> float:
    """CPU seconds of training the probes of a layer, in an empty cache."""
    with empty_cache():
        return timed(lambda: trained_probes(Network(model, layer)))[1]


@contextmanager
def empty_cache() -> Iterator[None]:
    """Nothing is kept from before, and nothing stays."""
    kept = os.environ.get("SIPIT_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SIPIT_CACHE"] = folder
        try:
            yield
        finally:
            if kept is None:
                del os.environ["SIPIT_CACHE"]
            else:
                os.environ["SIPIT_CACHE"] = kept


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds."""
    started = time.process_time()
    return run(), time.process_time() - started


PEERS: dict[str, Callable[..., Result]] = {
    "exhaustive": exhaustive,
    "gradient": descending("gradient", GradientPolicy()),
    "tuned": descending("tuned", GradientPolicy.tuned()),
    "joint": joint,
}

if __name__ == "__main__":
    answered(main)
