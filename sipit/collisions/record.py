"""`collide`, whole: a corpus becomes states, layer by layer its closest pairs, and of these those that collide.

corpus     windows of text, every prefix a prompt               states on disk, in the cache while the work goes on
layers     the closest pairs of different prompts, exactly      pairs known to collide over the reals set apart
hits       run again alone, in two precisions                   a cause for each
searches   look for more where there is most hope               continuations, swaps, collapse
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.collisions.causes import StandAlone
from sipit.collisions.examination import LISTED, Examined, batch_for, examine, state_folder
from sipit.collisions.findings import LocalSearch, Search
from sipit.collisions.hunts import check_searches, hunt
from sipit.collisions.result import layers_json
from sipit.memory import peak_memory
from sipit.models import LanguageModel
from sipit.models.layers import check_numbers
from sipit.prompts.corpora import Corpus, read_corpus
from sipit.record import Progress, Stages, Stopwatch, provenance, silent
from sipit.states.store import store_states


class Engine(Search, Protocol):
    """Where the work is done: it captures states, and looks for pairs among them."""

    name: str

    def states(
        self,
        model: LanguageModel,
        corpus: Corpus,
        layers: Sequence[int],
        folder: Path,
        batch: int,
        *,
        seed: int,
        progress: Progress | None,
    ) -> dict[int, Any]:
        """The states of a corpus at several layers, each of shape (prompts, d); see `store_states`."""
        ...


class _Here(LocalSearch):
    """This process."""

    name = "local"

    def states(
        self,
        model: LanguageModel,
        corpus: Corpus,
        layers: Sequence[int],
        folder: Path,
        batch: int,
        *,
        seed: int,
        progress: Progress | None,
    ) -> dict[int, Any]:
        """See `Engine`."""
        return store_states(model, corpus.prompts, layers=layers, folder=folder, batch=batch, progress=progress)


HERE = _Here()


def collision_record(
    model: LanguageModel,
    prompts: str = "builtin",
    *,
    layers: Sequence[int] | None = None,
    limit: int | None = None,
    threshold: float | None = None,
    window: int = 32,
    searches: Sequence[str] = (),
    listed: int = LISTED,
    memory: float = 4.0,
    special_tokens: bool = True,
    engine: Engine = HERE,
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """The closest pairs and all collisions among the states of many prompts, exactly: the record of `sipit collide`.

    Args:
        model: whose states they are.
        prompts: a file, a folder of texts, `builtin`, `datasets:NAME` or `random:LENGTH`.
        layers: blocks 0…L; None for the first, the middle and the last.
        limit: at most so many different prompts.
        threshold: absolute L2 at or below which a pair is a hit; None derives it from measured noise.
        window: tokens of a window of text, of which every prefix is a prompt.
        searches: `continuations`, `swaps` and `collapse` look for collisions beside the corpus.
        listed: pairs a layer that are run again alone, explained and listed.
        memory: GiB that the work may take.
        special_tokens: whether text gets the tokenizer's special tokens.
        engine: where it is done: this process, or a `sipit.cluster.states.Cluster`.
        seed: of the samples, and of the parameters of a tiny model.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        InvalidInput: a layer that the model has not, no search of that name, a corpus without prompts, or one that does
            not fit into memory.
    """
    watch = Stopwatch() if watch is None else watch
    every = sorted({1, max(1, model.layers // 2), model.layers})
    chosen = list(dict.fromkeys(every if layers is None else layers))
    check_numbers(model, chosen)
    check_searches(searches)
    corpus = read_corpus(model, prompts, window=window, limit=limit, special_tokens=special_tokens, seed=seed)
    batch = batch_for(model, corpus.prompts, memory)
    elapsed = {"loading": round(watch.seconds, 1)}
    with state_folder(model, corpus.prompts, chosen, batch) as folder:
        with stages("states") as progress:
            states = engine.states(model, corpus, chosen, folder, batch, seed=seed, progress=progress)
        elapsed["states"] = round(watch.seconds, 1)
        alone = StandAlone.of(model)
        examined: list[Examined] = []
        with stages("layers") as progress:
            for layer in chosen:
                found = examine(alone, corpus, states[layer], layer=layer, threshold=threshold, seed=seed,
                                listed=listed, search=engine)  # fmt: skip
                examined.append(found)
                progress(len(examined), len(chosen))
        elapsed["layers"] = round(watch.seconds, 1)
        result = layers_json(model, corpus, examined)
        if searches:
            with stages("searches") as progress:
                result["searches"] = hunt(
                    alone, corpus, examined, searches, folder=folder, threshold=threshold, seed=seed, memory=memory,
                    listed=listed, search=engine, progress=progress,
                )  # fmt: skip
        elapsed["searches"] = round(watch.seconds, 1)
    searched: list[dict[str, Any]] = list(result.get("searches", {}).values())  # what became of formats has no verdict
    also = {"engine": engine.name, "window": window, "elapsed_seconds": elapsed, "peak_memory_gib": peak_memory()}
    return Record(
        command="collide",
        verdict=Verdict.worst(one["verdict"] for one in (result, *searched) if one.get("verdict") is not None),
        result=result,
        provenance=provenance(model, seed=seed, arithmetic=alone.arithmetic) | also,
        seconds=watch.seconds,
    )
