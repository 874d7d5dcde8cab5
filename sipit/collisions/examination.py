"""`collide`: the closest pairs and all collisions among the prompts of a corpus, layer by layer, with their causes."""

import hashlib
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from numerics.pairs.points import norm
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cache import alone_in, cache_folder, can_write, measured_with
from sipit.collisions.causes import Cause, Explanation, StandAlone, explain
from sipit.collisions.findings import LOCAL, LayerFindings, Search, median_norm, search_layer
from sipit.collisions.known import Families, families_at, known_collisions
from sipit.memory import GIB
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.noise.tolerance import SAFETY
from sipit.prompts.corpora import Corpus
from sipit.prompts.windows import Prefixes

LISTED = 100  # pairs a layer that are run again and listed
SAMPLE = 48  # prompts on which the noise is measured
BYTES_A_PROMPT = 2000  # of the search, beside the states: its sketch and tree, the prompts and their keys


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair that collides, or came within the threshold, with its explanation.

    `stored_distance` is the absolute L2 distance of the states that were searched.
    """

    first: int
    second: int
    stored_distance: float
    explanation: Explanation


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """One layer, with its hits explained.

    Attributes:
        noise: the largest relative L2 error of a stored state, on a sample of the prompts.
        hits: every pair that was run again: first those not known to collide, then those known to, up to a limit.
        unexamined: how many pairs of prompts that are hits and not known to collide were not run again because of the
            limit, those of bit-identical states among them.
    """

    findings: LayerFindings
    noise: float
    hits: tuple[Hit, ...]
    unexamined: int

    @property
    def collisions(self) -> tuple[Hit, ...]:
        """The hits that stand-alone runs confirm, or that hold over the reals."""
        return tuple(hit for hit in self.hits if hit.explanation.cause is not Cause.NOT_CONFIRMED)

    @property
    def verdict(self) -> Verdict:
        """`collision` where there is one; `undecided` where hits were left unexamined."""
        if self.collisions or self.findings.known.pairs:
            return Verdict.COLLISION
        return Verdict.UNDECIDED if self.unexamined else Verdict.SEPARATED


def held_bytes(model: LanguageModel) -> int:
    """Memory of the model and of its copy in float64."""
    copied = 0 if model.dtype == torch.float64 else 8
    return sum(parameter.numel() for parameter in model.module.parameters()) * (model.dtype.itemsize + copied)


def row_bytes(model: LanguageModel) -> int:
    """Memory of a state, as it is behind the last block."""
    return model.width * Network(model, model.layers).dtype.itemsize


def batch_for(model: LanguageModel, prompts: Prefixes, memory: float) -> int:
    """Windows that run together within a memory of so many GiB; the same whenever a run is resumed.

    Raises:
        InvalidInput: the model and the search do not fit.
    """
    row = row_bytes(model)
    left = memory * GIB - held_bytes(model) - len(prompts) * (BYTES_A_PROMPT + 2 * row)
    longest = max(map(len, prompts.windows))
    window = 64 * longest * row  # activations of one window: projections, a gated MLP, scores
    if left < window:
        needed = (memory * GIB - left + window) / GIB
        raise InvalidInput(
            f"Expected {len(prompts)} prompts to fit into {memory:g} GiB, but they need {needed:.1f}; "
            "lower --limit or raise --memory."
        )
    return int(max(1, min(2048 // longest, left / 4 // window)))


@contextmanager
def state_folder(model: LanguageModel, prompts: Prefixes, layers: Sequence[int], batch: int) -> Generator[Path]:
    """Where states are while the work goes on: in the cache, so that it can be resumed, and removed once it is done.

    Where the cache can only be read, or another process is at the same work there or may be (a disk without locks does
    not tell), it is a folder for this one alone.
    """
    identity = (model.digest, str(model.dtype), str(model.device), prompts.digest, tuple(layers), batch)
    name = hashlib.sha256(repr(identity).encode()).hexdigest()[:24]
    folder = cache_folder() / measured_with(model.device) / "collide" / name
    if can_write(folder):
        with alone_in(folder) as alone:
            if alone:
                yield folder
                shutil.rmtree(folder, ignore_errors=True)
                return
    with tempfile.TemporaryDirectory() as temporary:
        try:
            yield Path(temporary)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept of a folder for one process alone") from None


def examine(
    alone: StandAlone,
    corpus: Corpus,
    states: Any,
    *,
    layer: int,
    threshold: float | None,
    seed: int,
    listed: int = LISTED,
    search: Search = LOCAL,
) -> Examined:
    """Searches one layer and explains what it finds.

    Args:
        alone: for runs of single prompts.
        states: shape (prompts, d), of all prompts of the corpus at the layer.
        threshold: absolute L2. By default twice (both states of a pair err) a safety factor times the measured
            relative noise times the median norm of the states.
        seed: of the samples for noise and co-Lipschitz estimates.
        listed: how many pairs to explain.
        search: who looks for them.
    """
    prompts, classes = corpus.prompts, alone.model.token_classes.cpu().numpy()
    families = families_at(alone.model, layer)
    known = known_collisions(prompts, classes, families)
    noise = measured_noise(alone, prompts, states, layer=layer, seed=seed)
    chosen = 2 * SAFETY * noise * median_norm(states) if threshold is None else threshold
    findings = search_layer(states, prompts, known, layer=layer, threshold=chosen, seed=seed, search=search)
    unknown = findings.hits(listed)
    pairs = [(pair.first, pair.second) for pair in unknown]
    pairs += known.listed(listed - len(pairs))
    hits = tuple(_hit(alone, prompts, states, pair, families, layer, chosen, threshold is None) for pair in pairs)
    return Examined(findings, noise, hits, findings.below_outside - len(unknown))


def measured_noise(alone: StandAlone, prompts: Prefixes, states: Any, *, layer: int, seed: int) -> float:
    """The largest relative L2 difference between a stored state and its prompt's own run in float64, on a sample.

    Never below the rounding of one operation, nor, in a float64 model, below what its own run errs by. A measurement,
    not a bound.
    """
    sample = np.random.default_rng(seed).choice(len(prompts), min(SAMPLE, len(prompts)), replace=False)
    noise = float(torch.finfo(alone.model.dtype).eps)
    for prompt in sample.tolist():
        ids = prompts.token_ids(prompt)
        _, exact = alone.states(ids, layer)
        apart = norm(np.asarray(states[prompt], np.float64) - exact)
        error = max(apart, alone.rounding(ids, layer)) if alone.is_its_own_reference else apart
        noise = max(noise, float(error / norm(exact)))
    return noise


def _hit(
    alone: StandAlone,
    prompts: Prefixes,
    states: Any,
    pair: tuple[int, int],
    families: Families,
    layer: int,
    threshold: float,
    measured: bool,
) -> Hit:
    first, second = (prompts.token_ids(prompt) for prompt in pair)
    classes = alone.model.token_classes.cpu().numpy()
    known = families.cause(classes[first].tolist(), classes[second].tolist())
    stored = norm(np.subtract(*(np.asarray(states[prompt], dtype=np.float64) for prompt in pair)))
    explanation = explain(alone, first, second, layer=layer, threshold=threshold, measured=measured, known=known)
    return Hit(*pair, float(stored), explanation)
