"""`compare`, `audit` and `leak`, whole: each as a record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from proofs.evidence import Record
from sipit.models import LanguageModel
from sipit.models.files import sha256_of
from sipit.privacy.after import measure_released
from sipit.privacy.audit import audit_states
from sipit.privacy.comparison import RATE, compare_runs
from sipit.privacy.defences import Defence
from sipit.privacy.leak import SHORTLIST, measure_leak
from sipit.privacy.power import Power, power_of
from sipit.privacy.runs import FileRun, ModelRun, Run, open_run
from sipit.privacy.scores import RUNS
from sipit.record import Stages, Stopwatch, provenance, silent
from sipit.states.files import States


def comparison_record(
    first: Any,
    second: Any,
    prompts: Any = None,
    *,
    rate: float = RATE,
    special_tokens: bool = True,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Where two runs first differ by more than rounding: the record of `sipit compare`.

    Arguments and errors are those of `compare_runs`; `watch` says where time is counted from. The provenance names the
    first model, of two files the one whose rounding was expected.
    """
    watch = Stopwatch() if watch is None else watch
    one, two = (open_run(given, seed=seed, device=device, dtype=dtype) for given in (first, second))
    found = compare_runs(
        one,
        two,
        prompts,
        rate=rate,
        special_tokens=special_tokens,
        seed=seed,
        device=device,
        dtype=dtype,
        stages=stages,
    )
    given = [run.model for run in (one, two) if isinstance(run, ModelRun)]
    model = given[0] if given else found.reference
    ran = [one.arithmetic for one in (*given, found.reference) if one is not None]
    ran += ["both models in float64, without the casts of the library"] if (found.replay or {}).get("done") else []
    return Record(
        command="compare",
        verdict=found.verdict,
        result={
            **found.to_json(),
            "runs": [_told(run) for run in (one, two)],
        },
        provenance=provenance(
            model,
            seed=seed,
            arithmetic="; ".join(dict.fromkeys(ran)),
            lengths=(distance.shape[1] for distance in found.distances),
        ),
        seconds=watch.seconds,
    )  # fmt: skip


def audit_record(
    model: LanguageModel,
    states: States,
    prompts: Any,
    *,
    rate: float = 0.01,
    fingerprint: tuple[int, int] | None = None,
    runs: int = RUNS,
    power: bool = False,
    files: Sequence[Path] = (),
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Whether states are those of prompts under a model and a number format: the record of `sipit audit`.

    Arguments and errors are those of `audit_states`; with `power` the record says what the audit would notice, `files`
    are those that states and prompts came from, `seed` that of a tiny model, and `watch` says where time begins.
    """
    watch = Stopwatch() if watch is None else watch
    found = audit_states(model, states, prompts, rate=rate, fingerprint=fingerprint, runs=runs, stages=stages)
    measured: Power | None = None
    if power:
        with stages("measuring what is noticed") as progress:
            measured = power_of(found.claim, found.threshold, rate, progress)
    return Record(
        command="audit",
        verdict=found.verdict,
        result={
            **found.to_json(),
            "files": [{"file": str(path), "sha256": sha256_of(path)} for path in files],
            "power": measured and measured.alternatives,
            "false_alarms": measured and measured.false_alarms,
        },
        provenance=provenance(model, seed=seed, lengths=map(len, states)),
        seconds=watch.seconds,
    )


def leak_record(
    model: LanguageModel,
    prompts: Any = None,
    *,
    released: States | None = None,
    layers: Sequence[int] | None = None,
    defences: Sequence[str | Defence] | None = None,
    strengths: Sequence[float] | None = None,
    candidates: int = SHORTLIST,
    quick: bool = False,
    seed: int = 0,
    seeds: int = 1,
    stages: Stages = silent,
    announce: Callable[[float, float | None], None] | None = None,
    watch: Stopwatch | None = None,
) -> Record:
    """How much each defence hides and what it costs: the record of `sipit leak`.

    Arguments and errors are those of `measure_leak`; or of `measure_released` where the states are given that a defence
    let out of the prompts. `watch` says where time is counted from.
    """
    watch = Stopwatch() if watch is None else watch
    if released is not None:
        found = measure_released(model, prompts, released, candidates=candidates, seed=seed, stages=stages)
    else:
        found = measure_leak(
            model, prompts, layers=layers, defences=defences, strengths=strengths, candidates=candidates, quick=quick,
            seed=seed, seeds=seeds, stages=stages, announce=announce,
        )  # fmt: skip
    return Record(
        command="leak",
        verdict=found.verdict,
        result=found.to_json(),
        provenance=provenance(model, seed=seed),
        seconds=watch.seconds,
    )


def _told(run: Run) -> dict[str, Any]:
    if isinstance(run, FileRun):
        manifest = run.states.manifest
        return {"states": run.name, "model": manifest and manifest.model, "dtype": manifest and manifest.dtype,
                "sha256": run.sha256}  # fmt: skip
    how = run.settings
    return {
        "model": run.name or run.model.name, "digest": run.model.digest, "arithmetic": run.model.arithmetic,
        "attention": how.attention, "cache": how.cache, "batch": how.batch, "padding": how.padding,
        "threads": how.threads or torch.get_num_threads(),
    }  # fmt: skip
