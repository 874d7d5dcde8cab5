"""Looks for a prompt that does not come back from its states, and shrinks it (Hypothesis).

    draw a prompt, how it is captured, and a layer ─▶ capture ─▶ invert ─▶ compare with the truth
    a failure of each class is shrunk on its own, and kept in a prompt file that later runs try first

Classes, the worst first: a token was named that is not the true one; an ambiguous answer left the true token out; the
code raised; nothing was found; the answer is open beyond what identical embedding rows explain; the time ended.
"""

import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from numerics.dtypes import name_of
from proofs.arguments import whole_in
from proofs.errors import InvalidInput, MissingResource, Unsupported, short_of_memory
from proofs.evidence import Record, write_atomically
from proofs.verdict import Verdict
from sipit.cache import cache_folder, can_write
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.policies import check_policy
from sipit.inversion.verifier import LISTED
from sipit.models import LanguageModel
from sipit.models.network import Layer, check_layer
from sipit.prompts.reading import read_prompts, tokenize
from sipit.record import Progress, Stages, Stopwatch, provenance, silent
from sipit.states.capturing import capture
from sipit.states.files import States


class FailureClass(StrEnum):
    """How a prompt failed to come back, the worst first."""

    WRONG_TOKEN = "wrong_token"
    TRUTH_LEFT_OUT = "truth_left_out"
    CRASH = "crash"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    BUDGET_EXHAUSTED = "budget_exhausted"


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt, the layer it is captured at, and whether token by token with a cache."""

    token_ids: tuple[int, ...]
    layer: Layer
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A shrunk example that fails, and how."""

    kind: FailureClass
    example: Example
    detail: str


@dataclass(frozen=True, slots=True)
class FuzzReport:
    """Failures, the worst class first, and how many examples were inverted (shrinking included)."""

    examples: int
    failures: list[Failure]


class _Failed(Exception):
    """What Hypothesis is told of a failure; one subclass for each class, so that each is shrunk on its own."""


_RAISED = {kind: type(f"_{kind.name.title()}", (_Failed,), {}) for kind in FailureClass}


@dataclass
class Fuzzer:
    """Inverts examples of one model, `budget` seconds each; inverters are opened once for each layer."""

    model: LanguageModel
    policy: str = "draft"
    budget: float = 60.0

    def __post_init__(self) -> None:
        check_policy(self.policy)  # whatever an inversion raises later is a finding
        self._inverters: dict[Layer, Inverter] = {}

    def remembers(self, longest: int) -> bool:
        """Whether prompts of so many tokens can be captured with a cache: what a model refuses is no failure."""
        return self.model.abilities.memory is not None and self.model.lengths.alike(1, longest)

    def takes(self, example: Example) -> bool:
        """Whether the model runs such an example at all; one kept by an earlier version, or by hand, it may refuse."""
        try:
            check_layer(self.model, example.layer)
            tokenize(self.model, [list(example.token_ids)])
        except (InvalidInput, Unsupported):
            return False
        length = len(example.token_ids)
        return self.model.lengths.runs_in_parts(length) and (not example.cached or self.remembers(length))

    def failure(self, example: Example) -> Failure | None:
        """What is wrong with the answer to an example, or None."""
        try:
            states = capture(
                self.model, [example.token_ids], layer=example.layer, cached=example.cached, compared=False
            )
            inversion = self._inverter(states).invert(states[0])
        except Exception as error:
            if short_of_memory(error) or isinstance(error, OSError):
                raise  # of this machine, and another one has no such failure
            return Failure(FailureClass.CRASH, example, f"{type(error).__name__}: {error}"[:300])
        return judge(self.model, inversion, example)

    def _inverter(self, states: States) -> Inverter:
        if states.layer not in self._inverters:
            opened = Inverter.open(self.model, states, policy=self.policy, budget=self.budget)
            self._inverters[states.layer] = opened
        return self._inverters[states.layer]


def judge(model: LanguageModel, inversion: Inversion, example: Example) -> Failure | None:
    """Compares an answer with the truth, by class of identical embedding rows."""
    classes = model.token_classes
    truth = list(example.token_ids)

    def failed(kind: FailureClass, detail: str) -> Failure:
        return Failure(kind, example, detail)

    if len(inversion.token_ids) != len(truth):
        return failed(FailureClass.WRONG_TOKEN, f"{len(inversion.token_ids)} positions for {len(truth)} tokens")
    for position, (found, true) in enumerate(zip(inversion.token_ids, truth, strict=True)):
        if found is not None and int(classes[found]) != int(classes[true]):
            return failed(FailureClass.WRONG_TOKEN, f"token {found} for {true} at position {position}")
    first = next((token for token in inversion.tokens if token.token_id is None), None)
    if first is None:
        return None  # every position is named, and to the right class
    detail = f"position {first.position}, residual {first.residual}, tolerance {first.tolerance}"
    if first.outcome is Outcome.AMBIGUOUS:
        listed = [a.token_ids for a in inversion.alternatives if a.position == first.position]
        possible = listed[0] if listed else []
        if truth[first.position] not in possible and len(possible) < LISTED:
            return failed(FailureClass.TRUTH_LEFT_OUT, detail)
        return failed(FailureClass.AMBIGUOUS, detail)
    return failed(FailureClass(first.outcome.value), detail)


def fuzz(
    fuzzer: Fuzzer,
    *,
    layer: Layer | None,
    examples: int,
    seed: int = 0,
    longest: int = 16,
    known: Sequence[Example] = (),
    progress: Progress | None = None,
) -> FuzzReport:
    """Tries known examples, then as many drawn ones as asked for; the same for the same seed and known examples.

    What the model refuses is no failure: such examples are passed over (`Fuzzer.takes`).

    Args:
        fuzzer: whom the examples are given to.
        layer: where they are captured; None draws it too.
        examples: how many to draw.
        seed: of Hypothesis.
        longest: tokens of a prompt at most.
        known: examples that failed once.
        progress: called with (examples done, examples in all).

    Raises:
        MissingResource: hypothesis is not installed.
        InvalidInput: fewer than one example or token, or a layer that the model has not.
        Unsupported: the state behind a final norm, where there is none.
    """
    if layer is not None:
        check_layer(fuzzer.model, layer)
    if examples < 1 or longest < 1:
        raise InvalidInput(f"Expected at least one example and one token, but got {examples} and {longest}; ask more.")
    try:
        from hypothesis import HealthCheck, Phase, given, settings
    except ImportError:
        raise MissingResource(
            "Expected the package hypothesis, but it is not installed; install the extra: pip install 'sipit[fuzz]'."
        ) from None
    from hypothesis import seed as seeded
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky

    from sipit import strategies

    lengths, done = fuzzer.model.lengths, 0
    longest = longest if lengths.runs_in_parts(longest) else min(lengths.lengths)
    found: list[Failure] = []
    seen: list[Failure] = []  # of those that are drawn

    def attempt(example: Example) -> Failure | None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, examples), examples)
        return fuzzer.failure(example)

    taken = filter(fuzzer.takes, known)
    found += [failure for example in taken if (failure := attempt(example)) is not None]
    drawn = st.builds(
        Example,
        strategies.prompts(fuzzer.model, max_length=longest).map(tuple),
        strategies.layers(fuzzer.model) if layer is None else st.just(layer),
        st.booleans() if fuzzer.remembers(longest) else st.just(False),
    )

    def search(example: Example) -> None:
        failure = attempt(example)
        if failure is not None:
            seen.append(failure)
            raise _RAISED[failure.kind]

    chosen = settings(
        max_examples=examples,
        database=None,  # failures are kept in a prompt file, which the command of a failure names
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=True,
        print_blob=False,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
    )
    try:
        seeded(seed)(chosen(given(drawn)(search)))()
    except (_Failed, Flaky, BaseExceptionGroup):
        if not seen:
            raise
    # All that were seen: one that does not repeat, as where time ended, is a failure too. Shrunk ones were seen last.
    return FuzzReport(done, _smallest([*found, *reversed(seen)]))


def _smallest(failures: Sequence[Failure]) -> list[Failure]:
    """Of each class the shortest prompt, the worst class first."""
    best: dict[FailureClass, Failure] = {}
    for failure in sorted(failures, key=lambda one: (len(one.example.token_ids), one.example.token_ids)):
        best.setdefault(failure.kind, failure)
    return [best[kind] for kind in FailureClass if kind in best]


def keep_failure(failure: Failure, folder: Path, *, name: str) -> Path:
    """Writes the prompt of a failure as a prompt file of its own; a later one of the class takes its place.

    Raises:
        InvalidInput: the file cannot be written.
    """
    example = failure.example
    path = folder / f"{name}-{example.layer}{'-cached' if example.cached else ''}-{failure.kind}.jsonl"
    write_atomically(path, (json.dumps({"token_ids": list(example.token_ids)}) + "\n").encode())
    return path


def kept_examples(folder: Path, *, name: str, layer: Layer | None) -> list[Example]:
    """The examples that earlier runs kept under a name, at one layer or at all."""
    found: list[Example] = []
    for path in sorted(folder.glob(f"{name}-*.jsonl")):
        rest = path.stem.removeprefix(f"{name}-").split("-")
        at: Any = rest[0] if rest[0] == "final" else whole_in(rest[0])
        if at is not None and layer in {None, at}:
            prompts = [prompt for prompt in read_prompts(path) if not isinstance(prompt, str)]
            found += [Example(tuple(prompt), at, rest[1:2] == ["cached"]) for prompt in prompts]
    return found


def command_of(failure: Failure, prompts: Path, *, options: Sequence[str], search: Sequence[str] = ()) -> str:
    """The command line that repeats a failure; `options` name the model and how it runs, `search` how to invert."""
    example = failure.example
    at = [*options, "--prompts", str(prompts)]
    layer = ["--layer", str(example.layer)]
    if not example.cached:
        return shlex.join(["sipit", "invert", *at, *layer, *search])
    states = str(prompts.with_suffix(".safetensors"))
    taken = shlex.join(["sipit", "capture", *at, *layer, "--cached", "-o", states])
    return f"{taken} && {shlex.join(['sipit', 'invert', *at, '--states', states, *search])}"


def fuzzing_record(
    model: LanguageModel,
    *,
    layer: Layer | None,
    examples: int,
    longest: int = 16,
    policy: str = "draft",
    keep: Path | None = None,
    options: Sequence[str] = (),
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Looks for a prompt that does not come back, keeps it and says how to repeat it: the record of `sipit fuzz`.

    Args:
        model: what is inverted.
        layer: as for `fuzz`.
        examples: as for `fuzz`.
        longest: as for `fuzz`.
        seed: as for `fuzz`.
        policy: the order of the candidates.
        keep: folder of the failures, which must be writable; None for that of the cache.
        options: of the command lines that repeat a failure: the model and how it runs.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        MissingResource: hypothesis is not installed.
        InvalidInput: fewer than one example.
    """
    watch = Stopwatch() if watch is None else watch
    folder = cache_folder() / "fuzz" if keep is None else keep
    name = f"{model.digest[:16]}-{name_of(model.dtype)}"
    known = kept_examples(folder, name=name, layer=layer)
    fuzzer = Fuzzer(model, policy=policy)
    search = ["--policy", policy, "--budget", f"{fuzzer.budget:g}"]
    with stages("fuzzing") as progress:
        found = fuzz(
            fuzzer, layer=layer, examples=examples, seed=seed, longest=longest, known=known,
            progress=progress,
        )  # fmt: skip
    if found.failures and keep is None and not can_write(folder):
        folder = Path(tempfile.mkdtemp(prefix="sipit-fuzz-"))  # what was found is not lost with the cache
    files = [keep_failure(failure, folder, name=name) for failure in found.failures]
    failures = [
        {
            "class": failure.kind.value,
            "command": command_of(failure, path, options=options, search=search),
            "token_ids": list(failure.example.token_ids),
            "layer": failure.example.layer,
            "cached": failure.example.cached,
            "detail": failure.detail,
        }
        for failure, path in zip(found.failures, files, strict=True)
    ]
    return Record(
        command="fuzz",
        verdict=Verdict.VOID if failures else Verdict.HELD,
        result={
            "layer": "all" if layer is None else layer,
            "asked": examples,
            "examples": found.examples,
            "failures": failures,
            "files": [str(path) for path in files],
        },
        provenance=provenance(model, seed=seed),
        seconds=watch.seconds,
    )
