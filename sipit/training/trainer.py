"""A small transformer trained from scratch on text that Python carries, with its states followed along the way.

The batch of step k depends on the seed and k alone, never on the parameters, as Theorem 2.3 of arXiv 2510.15511 asks;
so a run is resumed from parameters and optimizer state, and equals one that was never stopped (on one machine, with
the same number of threads).
"""

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from numerics.chance import chance_of
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cache import measured_with
from sipit.models import LanguageModel
from sipit.models.digest import digest_of_tensors
from sipit.models.structure import find_decoder
from sipit.models.tokenizers import token_ids_of
from sipit.prompts.builtin_text import sections
from sipit.record import Progress
from sipit.training.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint, write_checkpoint
from sipit.training.followed import Followed

Optimizer = Literal["sgd", "adamw"]
RATES: dict[Optimizer, float] = {"sgd": 0.5, "adamw": 0.003}
DECAY = 0.01  # of AdamW
SNAPSHOTS = 40  # measurements along a run, beside the one before the first step
BATCH, LENGTH = 16, 64  # sequences of a step, and the tokens of each


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run depends on: two runs with equal settings are equal.

    `rate` is the step size, the same at every step; `layers` are those followed.
    """

    model: str
    digest: str
    optimizer: Optimizer
    rate: float
    steps: int
    layers: tuple[int, ...]
    seed: int
    dtype: str
    batch: int = BATCH
    length: int = LENGTH
    every: int = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.rate < math.inf:
            raise InvalidInput(
                f"Expected at least one step and a positive rate, but got --steps {self.steps} and --rate {self.rate}; "
                "correct them."
            )
        object.__setattr__(self, "every", max(1, math.ceil(self.steps / SNAPSHOTS)))


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished run: the trained model, what was followed, and the last checkpoint with the series of measurements."""

    model: LanguageModel
    settings: Settings
    followed: Followed
    checkpoint: Checkpoint

    @property
    def verdict(self) -> Verdict:
        """`collision` where prompts collide or ever became bit-identical, `undecided` where rounding may hide one."""
        rows = [row for entry in self.checkpoint.series for row in entry["layers"]]
        if any(known.pairs for known in self.followed.known.values()) or any(row["bit_identical"] for row in rows):
            return Verdict.COLLISION
        return Verdict.UNDECIDED if any(row["within_noise"] for row in rows) else Verdict.SEPARATED

    def to_json(self) -> dict[str, Any]:
        """The fields of a record, but for the files."""
        count = len(self.followed.prompts)
        known = {layer: found.pairs for layer, found in self.followed.known.items()}
        return {
            "settings": asdict(self.settings) | ({"weight_decay": DECAY} if self.settings.optimizer == "adamw" else {}),
            "prompts": count,
            "pairs": count * (count - 1) // 2,
            "corpus_digest": self.followed.prompts.digest,
            "known_to_collide": [{"layer": layer, "pairs": pairs} for layer, pairs in known.items() if pairs],
            "least": [self._least(layer) for layer in sorted(known)],
            "series": self.checkpoint.series,
        }

    def _least(self, layer: int) -> dict[str, Any]:
        """The smallest margin of a layer over the whole run, and at which step."""
        rows = [
            (row["minimum_distance"], row["relative_minimum"], entry["step"])
            for entry in self.checkpoint.series for row in entry["layers"] if row["layer"] == layer
        ]  # fmt: skip
        distance, relative, step = min(rows)
        return {"layer": layer, "minimum_distance": distance, "relative_minimum": relative, "step": step}


def train(model: LanguageModel, settings: Settings, folder: Path, progress: Progress | None = None) -> Trained:
    """Trains a copy of a model, from where the folder's checkpoint stands, and measures its states along the way.

    Args:
        model: freshly drawn, with a tokenizer by bytes; it stays as it is, as what is known of it by its digest does.
        settings: the run.
        folder: gets `checkpoint.safetensors`, written at every measurement.
        progress: called with (steps done, steps in all).

    Returns:
        The run; the series of its checkpoint has an entry {step, loss, layers} for every measurement.

    Raises:
        InvalidInput: the folder cannot be written or holds another run, or the loss is no longer finite.
    """
    followed = Followed.of(model, settings.layers, seed=settings.seed)
    module = copy.deepcopy(model.module).requires_grad_(True)
    trained = _around(model, module)
    named = dict(module.named_parameters())
    optimizer = _optimizer(settings, list(named.values()))
    path = folder / CHECKPOINT
    # What is resumed elsewhere is not the run that was never stopped.
    run = asdict(settings) | {"versions and machine": measured_with(model.device)}
    reached = read_checkpoint(path, run)
    if reached is None:
        reached = Checkpoint({}, 0, [{"step": 0, "loss": None, "layers": followed.measure(trained)}])
    else:
        _restore(path, reached, named, optimizer)
    text = torch.frombuffer(bytearray("\n".join(sections()).encode()), dtype=torch.uint8).long()
    front = token_ids_of(model.tokenizer, "")
    losses: list[float] = []
    for step in range(reached.step + 1, settings.steps + 1):
        ids = _batch(text, front, settings, step).to(model.device)
        logits = module(input_ids=ids, use_cache=False).logits[:, :-1].float()
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise InvalidInput(f"Expected a finite loss, but at step {step} it is {losses[-1]}; lower --rate.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % settings.every == 0 or step == settings.steps:
            entry = {"step": step, "loss": sum(losses) / len(losses), "layers": followed.measure(trained)}
            losses = []
            reached = Checkpoint(_tensors(named, optimizer), step, [*reached.series, entry])
            write_checkpoint(path, reached, run)
        if progress is not None:
            progress(step, settings.steps)
    module.requires_grad_(False)
    digest = digest_of_tensors(module.config, module.named_parameters())
    return Trained(replace(_around(model, module), digest=digest), settings, followed, reached)


def _around(model: LanguageModel, module: Any) -> LanguageModel:
    """The model with another module; nothing that was found in the first one is believed of it."""
    return replace(model, module=module, decoder=find_decoder(module))


def _optimizer(settings: Settings, parameters: list[Any]) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=settings.rate)
    return torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=DECAY)


def _batch(text: torch.Tensor, front: list[int], settings: Settings, step: int) -> torch.Tensor:
    """Sequences at random places of the text, ids = bytes, behind the special tokens of the family."""
    generator = chance_of(settings.seed, step)
    size = settings.length - len(front)
    starts = torch.randint(len(text) - size + 1, (settings.batch,), generator=generator)
    rows = text[starts[:, None] + torch.arange(size)]
    return torch.cat([torch.tensor(front, dtype=torch.long).expand(settings.batch, -1), rows], dim=1)


def _tensors(named: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Copies of parameters and optimizer state, under `parameter/NAME` and `KIND/NAME`."""
    found = {f"parameter/{name}": value.detach().clone() for name, value in named.items()}
    for name, value in named.items():
        found |= {
            f"{kind}/{name}": state.clone() for kind, state in optimizer.state[value].items() if state is not None
        }
    return found


def _restore(path: Path, reached: Checkpoint, named: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Puts parameters and optimizer state back; every parameter must be there, in its shape."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in reached.tensors.items():
        kind, _, name = key.partition("/")
        value = named.get(name)
        if value is None or tensor.shape not in (value.shape, torch.Size([])):
            raise InvalidInput(f"Expected tensors of the model, but {path} has {key}; choose another --folder.")
        state.setdefault(list(named).index(name), {})[kind] = tensor
    if len(state) != len(named) or any("parameter" not in part for part in state.values()):
        raise InvalidInput(f"Expected every parameter, but {path} has {len(state)} of {len(named)}; remove it.")
    with torch.no_grad():
        for place, value in enumerate(named.values()):
            value.copy_(state[place].pop("parameter").to(value.device))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": {p: part for p, part in state.items() if part}, "param_groups": groups})
