"""What a device does with models of real size: noise, margins, inversion, equal states, and kernels of number formats.

    python benchmarks/gpu.py [--device cuda] [--parts families,noise,margins,inversion,states,kernels]
                             [--layer 16] [--lengths 64,1024] [--budget 60] [--states 10000000] [--small]
                             [-o FILE.json]

    families    tiny models on the device: their states against those of the processor, and a prompt that comes back
    noise       what rounding moves between captures, in bfloat16, float32 and, where the device has it, tf32
    margins     the nearest of all other tokens, at three positions of a prompt
    inversion   prompts of random tokens from their states, against the exhaustive policy on the same device
    states      equal states among so many prompts of two tokens: by keys of 64 bits, and then by what they are
    kernels     int8, nf4 and fp8 matrices on the device against the processor

Needs a checkout and wheels alone: the model has the geometry of Llama-3.1-8B, and random weights in bfloat16, widened
where float32 computes. `--small` is a tiny geometry, and with `--device cpu` a trial of this script that measures no
device. A part that the device or a library cannot do is a row that says so.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from options import Options, among, answered, several, whole
from table import OURS, Row, Run, besides
from transformers import AutoModelForCausalLM, LlamaConfig

import sipit
from numerics.formats import FORMATS
from numerics.networks.casting import cast
from proofs.errors import MissingResource, Unsupported
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import matches_truth
from sipit.models import LanguageModel
from sipit.models.architecture import language_model_of
from sipit.models.network import Network
from sipit.models.tiny import FAMILIES
from sipit.noise.distances import relative_distance
from sipit.noise.measured import measure_noise
from sipit.observations.observation import Observation
from sipit.prefix.choice import single_opener
from sipit.prompts.builtin_text import random_tokens
from sipit.quantization.formatted import in_format
from sipit.quantization.margins import Place, scan

LARGE: dict[str, Any] = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
SEED, EXHAUSTED = 0, 3  # positions that the exhaustive policy resolves; the rest of its time is extrapolated
BATCH = 8192  # candidates at a time


def geometry(shape: dict[str, Any], dtype: torch.dtype, device: str) -> LanguageModel:
    """A Llama of a geometry with random weights, drawn in bfloat16 on the device whatever it computes in."""
    with torch.device(device):
        module = AutoModelForCausalLM.from_config(LlamaConfig(**shape, tie_word_embeddings=True), dtype=torch.bfloat16)
    chance = torch.Generator(device).manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.05 if "norm" in name else 0.02, generator=chance)
    return language_model_of("random Llama", cast(module, dtype).requires_grad_(False).eval())


def main() -> None:
    """Runs the parts one after the other; one that fails becomes a row with the reason."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", type=among(PARTS), default=",".join(PARTS))
    parser.add_argument("--layer", type=whole(), default=16)
    parser.add_argument("--lengths", type=several(2), default="64,1024")
    parser.add_argument("--budget", type=whole(), default=60, help="seconds per prompt of the inversion")
    parser.add_argument("--states", type=whole(), default=10**7)
    parser.add_argument("--small", action="store_true", help="a tiny geometry, block 2, 8 tokens, 1,000 states")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.small:
        options.layer, options.lengths, options.states = 2, [8], 1000
    options.shape = SMALL if options.small else LARGE
    if not device_answers(options.device):
        parser.error(f"expected a device that computes, but {options.device} does not; name another --device")
    run = Run(f"device: {device_name(options.device)}{besides(options.parts, PARTS)}", "wall")
    for name in options.parts:
        with told(run, name):
            PARTS[name](run, options)
        run.write(options.output)  # after each: a run that is cut short leaves what it measured
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()


@contextmanager
def told(run: Run, task: str) -> Iterator[None]:
    """A row with the reason, where the device or a library cannot do a task; out of memory is a RuntimeError."""
    try:
        yield
    except (Unsupported, MissingResource, RuntimeError) as error:
        run.add(Row(task, "sipit", 0.0, f"not done: {str(error).splitlines()[0]}"))


def device_answers(device: str) -> bool:
    """Whether a product comes back from the device."""
    try:
        return float((torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).sum()) == 8.0
    except (RuntimeError, AssertionError):
        return False


def device_name(device: str) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def timed(device: str, work: Callable[[], Any]) -> tuple[Any, float]:
    """What work gives, and its seconds once the device has done it."""
    begun = time.perf_counter()
    found = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return found, time.perf_counter() - begun


def families(run: Run, options: Any) -> None:
    """Every tiny family: the farthest of its states from those of the processor, and one prompt inverted."""
    for family in ["llama", "gpt2"] if options.small else FAMILIES:
        here, there = (sipit.load_model(f"tiny-{family}", device=device) for device in ("cpu", options.device))
        prompts = random_tokens(here, (4, 16), generator=torch.Generator().manual_seed(SEED)).tolist()
        expected = sipit.capture(here, prompts, layer=1)
        found, seconds = timed(options.device, lambda: sipit.capture(there, prompts, layer=1))  # noqa: B023
        apart = max(distance(one, other) for one, other in zip(found, expected, strict=True))
        back = sum(matches_truth(there, one, ids) for one, ids in zip(sipit.invert(there, found), prompts, strict=True))
        run.add(Row(f"tiny-{family}, 4 prompts of 16 tokens", "sipit on the device", seconds,
                    f"at most {apart:.1e} from the processor's; {back} of 4 prompts recovered"))  # fmt: skip


def distance(states: torch.Tensor, others: torch.Tensor) -> float:
    """The largest relative distance of two rows."""
    return float(relative_distance(states.cpu().double(), others.cpu().double(), damped=False).max())


def noise(run: Run, options: Any) -> None:
    """The largest relative noise of each arithmetic."""
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
    ):
        if tf32 and not options.device.startswith("cuda"):
            run.add(Row("noise in tf32", "sipit", 0.0, "not done: the device has no tf32"))
            continue
        model = geometry(options.shape, dtype, options.device)
        at = Observation.of(None, options.layer)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            found, seconds = timed(options.device, lambda: measure_noise(model, at, computed=dtype, stored=dtype))  # noqa: B023
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False  # where memory ends, the next part is not in tf32
        run.add(Row(f"noise in {name}, layer {options.layer}", "sipit", seconds,
                    f"at most {found.largest:.1e} at {found.positions} positions"))  # fmt: skip


def margins(run: Run, options: Any) -> None:
    """The distance to the nearest other token of the vocabulary, relative to the state."""
    model = geometry(options.shape, torch.bfloat16, options.device)
    (prompt,) = random_tokens(model, (1, min(options.lengths)), generator=torch.Generator().manual_seed(1)).tolist()
    for position in (0, len(prompt) // 2, len(prompt) - 1):
        place = Place(0, tuple(prompt[:position]), prompt[position])
        state = Network(model, options.layer).run(torch.tensor([prompt[: position + 1]], device=model.device))[0, -1:]
        found, seconds = timed(options.device, lambda: scan(model, place, {options.layer: state}))  # noqa: B023
        (one,) = found.values()
        share = float(one.rival[0]) / float(state.float().norm())
        run.add(Row(f"margin at position {position}, {one.candidates} tokens", "sipit", seconds, f"{share:.3g}"))


def inversion(run: Run, options: Any) -> None:
    """Random tokens from their states in bfloat16, beside the exhaustive policy, whose time is extrapolated."""
    model = geometry(options.shape, torch.bfloat16, options.device)
    for length in options.lengths:
        prompts = random_tokens(model, (1, length), generator=torch.Generator().manual_seed(2)).tolist()
        states = sipit.capture(model, prompts, layer=options.layer)
        inverter, opening = timed(options.device, lambda: Inverter.open(model, states, budget=options.budget))  # noqa: B023
        found, seconds = timed(options.device, lambda: inverter.invert(states[0]))  # noqa: B023
        pairs = list(zip(found.token_ids, prompts[0], strict=True))
        right, wrong = sum(a == b for a, b in pairs), sum(a not in (b, None) for a, b in pairs)
        task = f"{length} tokens in bfloat16, layer {options.layer}"
        run.add(Row(task, OURS, seconds,
                    f"{right} tokens recovered, {wrong} wrong, {found.outcome.value}; "
                    f"probe and noise before it {opening:.3g} s"))  # fmt: skip
        short = replace(states, arrays=(states[0][:EXHAUSTED],))
        plain = Inverter.open(model, short, policy="exhaustive")
        _, few = timed(options.device, lambda: plain.invert(short[0]))  # noqa: B023
        slow = few * max(right, 1) / EXHAUSTED
        run.add(Row(task, "exhaustive", slow, f"as many tokens, extrapolated from {EXHAUSTED} positions",
                    slow / seconds))  # fmt: skip


def states(run: Run, options: Any) -> None:
    """Equal states of all tokens behind other first tokens, exact: equal keys are looked at again."""
    model = geometry(options.shape, torch.bfloat16, options.device)
    chance = torch.Generator().manual_seed(3)
    factors = (torch.randint(-(2**62), 2**62, (model.width,), generator=chance) * 2 + 1).to(model.device)
    firsts = torch.randperm(model.vocabulary_size, generator=chance)[: -(-options.states // model.vocabulary_size)]
    everything, network = torch.arange(model.vocabulary_size, device=model.device), Network(model, options.layer)

    def behind(first: int, ids: torch.Tensor) -> torch.Tensor:
        prefix = single_opener(network)(network)
        prefix.extend(0, torch.tensor([[first]], device=model.device))
        prefix.keep(0)
        return torch.cat([prefix.candidates(torch.ones_like(part), part) for part in ids.split(BATCH)])

    def keys() -> torch.Tensor:
        rows = (behind(first, everything).view(torch.int16).long() for first in firsts.tolist())
        return torch.cat([(row * factors).sum(1).cpu() for row in rows])

    def state(number: int) -> torch.Tensor:
        first, second = firsts[number // model.vocabulary_size], number % model.vocabulary_size
        return behind(int(first), everything[second : second + 1])[0]

    found, seconds = timed(options.device, keys)
    order = found.argsort(stable=True)
    same = torch.nonzero(found[order][1:] == found[order][:-1]).flatten().tolist()
    equal = sum(torch.equal(state(int(order[at])), state(int(order[at + 1]))) for at in same)
    run.add(Row(f"{len(found)} states of width {model.width}: all tokens behind {len(firsts)} others", "sipit", seconds,
                f"{len(same)} neighbours have equal keys; {equal} of them are equal"))  # fmt: skip


def kernels(run: Run, options: Any) -> None:
    """Quantised matrices of a tiny model on the device, against the same on the processor."""
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8]]
    for name in ("int8", "nf4", "fp8"):
        with told(run, f"tiny-llama in {name}"):
            there, here = (
                in_format(sipit.load_model("tiny-llama", device=device), FORMATS[name])
                for device in (options.device, "cpu")
            )
            found, seconds = timed(options.device, lambda: there.capture(prompts, layer=2))  # noqa: B023
            apart = distance(found[0], here.capture(prompts, layer=2)[0])
            run.add(Row(f"tiny-llama in {name}", "sipit", seconds, f"{apart:.1e} from the processor's"))


PARTS: dict[str, Callable[[Run, Any], None]] = {
    "families": families, "noise": noise, "margins": margins, "inversion": inversion, "states": states,
    "kernels": kernels,
}  # fmt: skip

if __name__ == "__main__":
    answered(main)
