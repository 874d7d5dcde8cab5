"""Exhaustive continuations: the closest prompts, each followed by every token, and all pairs of what results.

With keys and values of the prompt kept, a continuation costs one token. The paper's test of this kind looks at
10 C(V, 2) pairs, those behind one prompt; here all C(10 V, 2) are compared.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proofs.evidence import write_atomically
from proofs.verdict import Verdict
from sipit.cache import opened_json, sealed_json
from sipit.collisions.causes import StandAlone
from sipit.collisions.examination import BYTES_A_PROMPT, GIB, Examined, examine, held_bytes, row_bytes
from sipit.collisions.findings import Search
from sipit.collisions.hunts.bases import FULL, NO_BASES, bases_json, closest_prompts, has_room, summary
from sipit.collisions.result import layers_json
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prefix.choice import prefix_opener
from sipit.prompts.corpora import Corpus, whole_prompts
from sipit.record import Progress
from sipit.states.store import arrays_on_disk, expect_kept, holds, stored_in

TOKENS = 2048  # that run together, and are done again after an interruption


def hunt_continuations(
    alone: StandAlone,
    corpus: Corpus,
    examined: Sequence[Examined],
    *,
    folder: Path,
    threshold: float | None,
    seed: int,
    memory: float,
    listed: int,
    search: Search,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """At every layer: its closest prompts times the whole vocabulary, searched and explained as a corpus is.

    Ten prompts, or as many as fit into `memory` GiB; none behind which the model has no room for a token. The record
    says how many were left out, and how many of them had no room behind them.
    """
    model = alone.model
    layers: list[dict[str, Any]] = []
    collisions: list[dict[str, Any]] = []
    full: list[int] = []
    verdicts: list[Verdict] = []
    for one in examined:
        layer = one.findings.layer
        wanted = closest_prompts(one)
        open_ended = [prompt for prompt in wanted if has_room(model, len(corpus.prompts.token_ids(prompt)))]
        if not open_ended:
            full += [layer] if wanted else []
            continue
        # Shorter ones first, which is the order that a corpus of whole prompts has.
        affordable = open_ended[: _affordable(model, memory)]
        bases = sorted(affordable, key=lambda prompt: len(corpus.prompts.token_ids(prompt)))
        prompts = [corpus.prompts.token_ids(prompt) for prompt in bases]
        continued = whole_prompts(
            "continuations", ([*ids, token] for ids in prompts for token in range(model.vocabulary_size))
        )
        states = continuation_states(model, prompts, layer=layer, folder=folder, progress=progress)
        found = examine(
            alone, continued, states, layer=layer, threshold=threshold, seed=seed, listed=listed, search=search
        )
        told = layers_json(model, continued, [found])
        verdicts.append(told["verdict"])
        layers.append({**told["layers"][0], "prompts": told["prompts"], "pairs": told["pairs"],
                       "bases_left_out": len(wanted) - len(bases), "bases_full": len(wanted) - len(open_ended),
                       **bases_json(corpus, bases)})  # fmt: skip
        collisions += told["collisions"]
    lines = [*([summary(layers)] if layers else []), *(f"layer {layer}: {FULL}" for layer in full)]
    return {
        "verdict": Verdict.worst(verdicts) if verdicts else None,
        "summary": "; ".join(lines) or NO_BASES,
        "numbering": "prompt b * V + t is base b followed by token t, for a vocabulary of V tokens",
        "vocabulary": model.vocabulary_size,
        "layers": layers,
        "collisions": collisions,
    }


def _affordable(model: LanguageModel, memory: float) -> int:
    """How many prompts with all their continuations fit, at least one."""
    each = model.vocabulary_size * (BYTES_A_PROMPT + 2 * row_bytes(model))
    return max(1, int((memory * GIB - held_bytes(model)) // each))


def continuation_states(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    layer: int,
    folder: Path,
    progress: Progress | None = None,
) -> NDArray[np.floating[Any]]:
    """The last state of every prompt followed by every token: a memory map of shape (len(prompts) * V, d).

    Row b V + t is prompt b followed by token t. Interrupted work is continued by another call with the same folder;
    what is not as it was written there is computed anew.
    """
    digest = hashlib.sha256(repr((model.digest, str(model.dtype), layer, prompts)).encode()).hexdigest()[:16]
    path, checkpoint = folder / f"continuations-{digest}.npy", folder / f"continuations-{digest}.json"
    vocabulary = model.vocabulary_size
    shape, dtype = (len(prompts) * vocabulary, model.width), stored_in(model, layer)
    stored, total = opened_json(checkpoint) or {"rows": 0, "seal": None}, hashlib.sha256()
    done = stored["rows"]
    if not holds(path, shape, dtype, done, total, stored["seal"]):
        done, total = 0, hashlib.sha256()
    if done < shape[0]:
        (states,) = arrays_on_disk([path], shape, [dtype], begun=bool(done))
        network = Network(model, layer)
        open_prefix = prefix_opener(network)
        for number in range(done // vocabulary, len(prompts)):
            ids = torch.tensor(list(prompts[number]), device=model.device)
            prefix = open_prefix(network)
            prefix.extend(0, ids[None])
            prefix.keep(0)
            for start in range(done % vocabulary, vocabulary, TOKENS):
                tokens = torch.arange(start, min(start + TOKENS, vocabulary), device=model.device)
                run = prefix.candidates(torch.full_like(tokens, len(ids)), tokens).cpu()
                end = done + len(tokens)
                written = (run.float() if run.dtype == torch.bfloat16 else run).numpy()
                states[done:end] = written
                total.update(written.tobytes())
                done = end
                states.flush()
                write_atomically(checkpoint, sealed_json({"rows": done, "seal": total.hexdigest()}))
                if progress is not None:
                    progress(done, shape[0])
        expect_kept(path, shape, dtype, total.hexdigest())
    return np.load(path, mmap_mode="r")
