"""What is compared: a model under settings, or a file with states of several layers."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from numerics.grids import grid_type
from proofs.arguments import whole_in
from proofs.errors import InvalidInput, Unsupported
from proofs.threads import turn
from sipit.models import LanguageModel, load_model
from sipit.models.abilities import Side
from sipit.models.files import sha256_of
from sipit.models.language_model import check_loaded
from sipit.models.library import one_line
from sipit.models.refusals import REFUSALS
from sipit.privacy.run_name import named_run
from sipit.privacy.spread import damped_distance
from sipit.states.capturing import capture
from sipit.states.layered import LayeredStates, capture_layers, read_layers
from sipit.states.readers.reading import expect_no_record


@dataclass(frozen=True, slots=True)
class Settings:
    """In which way a model is run; `threads` and `attention` None leave what is set.

    Attributes:
        attention: the implementation of the library, such as eager or sdpa.
        cache: one token at a time, with a cache.
        batch: prompts that run together.
        padding: on which side of the shorter ones.
        threads: of torch.
    """

    attention: str | None = None
    cache: bool = False
    batch: int = 1
    padding: Side = "right"
    threads: int | None = None


_SWITCH = {"on": True, "yes": True, "true": True, "1": True, "off": False, "no": False, "false": False, "0": False}
_THREADS = 1024  # at most: no machine has use for more
_NAMES = (*(field.name for field in fields(Settings)), "dtype", "device")


@dataclass(frozen=True, slots=True)
class ModelRun:
    """A loaded model, and how it is run."""

    model: LanguageModel
    settings: Settings = Settings()
    name: str = ""

    def capture(self, prompts: Sequence[Sequence[int]], layers: Sequence[int]) -> LayeredStates:
        """The states of prompts at some layers under the settings.

        Raises:
            InvalidInput: an attention or a batch that the model does not take, or states that are not finite.
            Unsupported: a cache that the model does not go on from.
        """
        how = self.settings
        with _threads(how.threads), attention_of(self.model, how.attention):
            return capture_layers(self.model, prompts, layers, cached=how.cache, batch=how.batch, padding=how.padding)


@dataclass(frozen=True, slots=True)
class FileRun:
    """States that were captured before."""

    states: LayeredStates
    name: str
    sha256: str | None = None


Run = ModelRun | FileRun
Captured = tuple[Run, Sequence[torch.Tensor]]
"""A run, and its states (layers, T, d) of every prompt."""


def open_run(given: Any, *, seed: int = 0, device: str = "cpu", dtype: str = "float32") -> Run:
    """The run that is meant by a name, `MODEL@dtype=…,attention=…,cache=…,batch=…,padding=…,threads=…,device=…` or a
    states file, or by a loaded model or states; `device` and `dtype` are for a name that says none.

    Raises:
        InvalidInput: a setting that there is not, or no such model or file.
    """
    if isinstance(given, ModelRun | FileRun):
        return given
    if isinstance(given, LanguageModel):
        check_loaded(given)
        return ModelRun(given, name=given.name)
    if isinstance(given, LayeredStates):
        return FileRun(given, "states")
    if not isinstance(given, str | os.PathLike):
        raise InvalidInput(
            f"Expected a model, its name or a states file, but got a {type(given).__name__}; give one of them."
        )
    text = os.fspath(given)
    if text.endswith(".safetensors"):
        return FileRun(read_layers(Path(text)), text, sha256_of(Path(text)))
    if Path(text).suffix in (".npz", ".npy", ".json", ".pt") and os.path.isfile(text):
        expect_no_record(Path(text))
        raise InvalidInput(
            f"Expected a model, or states of several layers in a safetensors file, but got {text}; save its tensors as "
            "<prompt>.<layer> with safetensors."
        )
    name, settings = named_run(text)
    chosen = _settings(text, settings)
    model = load_model(name, dtype=chosen.pop("dtype", dtype), device=chosen.pop("device", device), seed=seed)
    return ModelRun(model, replace(Settings(), **chosen), text)


def coarsest(captured: Sequence[Captured], shared: torch.dtype | None) -> torch.dtype:
    """The least exact type that a difference can come from: computed in, stored in, or that of weights alike in it."""
    types = [grid_type(stack.flatten(0, 1)) for _, stacks in captured for stack in stacks]
    for run, _ in captured:
        if isinstance(run, ModelRun):
            types.append(run.model.coarsest)
        elif run.states.manifest is not None:
            types.append(getattr(torch, run.states.manifest.dtype))
    types += [] if shared is None else [shared]
    return max(types, key=lambda dtype: torch.finfo(dtype).eps)


def check_before_norm(
    captured: Sequence[Captured], model: LanguageModel, ids: Sequence[Sequence[int]], within: Sequence[torch.Tensor]
) -> None:
    """Raises InvalidInput where the last layer of a foreign file, at L, is the state behind the final norm.

    `within` is how far rounding moves a state, (layers, T) for every prompt.
    """
    for run, stacks in captured:
        if not isinstance(run, FileRun) or run.states.manifest is not None:
            continue
        try:
            behind = capture(model, ids, layer="final", finite=False)
        except Unsupported:
            continue  # it has no such norm
        if all(
            rows.shape == stack[-1].shape and bool((damped_distance(stack[-1:], rows[None]) <= most[-1:]).all())
            for stack, rows, most in zip(stacks, behind, within, strict=True)
        ):
            raise InvalidInput(
                f"Expected the state before the final norm at layer {model.layers} of {run.name}, but there it is the "
                "one behind it, as the last of hidden_states is in transformers; leave that layer away, or capture it "
                "before the norm."
            )


def _settings(text: str, settings: str) -> dict[str, Any]:
    """The settings behind the @ of a name, by name."""
    chosen: dict[str, Any] = {}
    for part in settings.split(",") if settings else ():
        name, _, value = part.strip().partition("=")
        if name not in _NAMES or not value or name in chosen:
            raise InvalidInput(
                f"Expected settings of {', '.join(_NAMES)} as NAME=VALUE, but got {part!r} in {text}; correct it."
            )
        whole = whole_in(value) if name in ("batch", "threads") else None
        if name in ("batch", "threads") and (whole is None or whole < 1):
            raise InvalidInput(
                f"Expected a whole number of at least 1 for {name}, but got {value!r} in {text}; correct it."
            )
        if name == "threads" and whole is not None and whole > _THREADS:  # far more end the process
            raise InvalidInput(f"Expected at most {_THREADS} threads, but got {value} in {text}; name fewer.")
        if name == "cache" and value.lower() not in _SWITCH:
            raise InvalidInput(f"Expected cache=on or cache=off, but got {value!r} in {text}; choose one.")
        if name == "padding" and value not in ("left", "right"):
            raise InvalidInput(f"Expected padding=left or padding=right, but got {value!r} in {text}; choose one.")
        chosen[name] = _SWITCH[value.lower()] if name == "cache" else value if whole is None else whole
    return chosen


@contextmanager
def _threads(count: int | None) -> Generator[None]:
    with turn:
        before = torch.get_num_threads()
        if count is not None:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def attention_of(model: LanguageModel, name: str | None) -> Generator[None]:
    """Within, a model attends by the implementation of that name.

    Raises:
        InvalidInput: the library has none of that name for this model.
    """
    with turn:
        before = getattr(model.module.config.get_text_config(), "_attn_implementation", None)
        if name is None or name == before:
            yield
            return
        try:
            model.module.set_attn_implementation(name)
        except (*REFUSALS, ImportError) as error:
            raise InvalidInput(
                f"Expected an attention that {model.name} has, such as eager or sdpa, but {name!r} is refused "
                f"({one_line(error)}); choose one."
            ) from None
        try:
            yield
        finally:
            model.module.set_attn_implementation(before)
