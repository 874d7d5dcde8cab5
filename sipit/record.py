"""What every record says beside its result, and what long work tells while it lasts.

The record of a command is made by a function of the package that does its work, so that a Python user gets what the
command writes: `check_model`, `inversion_record`, `collision_record`, `quantization_record` and so on.
"""

import math
import platform
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipit.models import LanguageModel

NOT_INSTALLED = "not installed"

Progress = Callable[[int, int], None]  # called with (done, of)
Stages = Callable[[str], AbstractContextManager[Progress]]  # one stage of long work, by its title


@contextmanager
def silent(_title: str) -> Generator[Progress]:
    """A stage that nobody watches."""
    yield lambda _done, _of: None


def finite(value: Any) -> float | None:
    """A number that JSON has; None for none, and where a state overflowed or there was nothing to divide by."""
    return float(value) if value is not None and math.isfinite(value) else None


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start


def versions() -> dict[str, str]:
    """Versions of what computes in floats, for manifests and records."""
    return {"python": platform.python_version()} | _versions("sipit", "torch", "transformers", "numpy")


def versions_of_the_checker() -> dict[str, str]:
    """Versions of what re-checks a certificate: torch has no part in it."""
    return {"python": platform.python_version()} | _versions("sipit", "python-flint", "numpy")


def versions_in_words() -> str:
    """The versions of the libraries that run a model."""
    return ", ".join(f"{name} {of}" for name, of in _versions("torch", "transformers").items())


def origin(**known: Any) -> dict[str, Any]:
    """Where a record comes from, as each says it: null where nothing of a kind had a part; and what else is known."""
    return dict.fromkeys(("model", "digest", "seed", "dtype", "device", "arithmetic")) | known


def provenance(
    model: "LanguageModel | None" = None,
    *,
    seed: int | None = None,
    arithmetic: str | None = None,
    lengths: Iterable[int] = (),
) -> dict[str, Any]:
    """Where a measurement comes from; `arithmetic` is what really ran, by default what the model computes in.

    `warnings` says what has to be known of prompts of such `lengths`, if anything.
    """
    data = origin(versions=versions(), seed=seed)
    if model is not None:
        from numerics.dtypes import name_of  # here, for `sipit verify` runs with `proofs` alone

        data |= {
            "model": model.name,
            "digest": model.digest,
            "dtype": name_of(model.dtype),
            "device": str(model.device),
            "arithmetic": arithmetic or model.arithmetic,
            "abilities": model.abilities.as_dict(),
        }
        warnings = model.warnings(lengths)
        data |= {"warnings": warnings} if warnings else {}
    return data


def exact_provenance(model: str, *arithmetic: str, **also: Any) -> dict[str, Any]:
    """Where a claim over the reals comes from: the model by name, the number systems, and what else it depends on."""
    computing = versions() | _versions("python-flint")
    return origin(model=model, **also, arithmetic="; ".join(arithmetic), versions=computing)


def _versions(*names: str) -> dict[str, str]:
    return {name: installed_version(name) for name in names}


@cache  # reading the metadata of a distribution costs as much as a short capture
def installed_version(name: str) -> str:
    """The version of an installed package, or `NOT_INSTALLED`, as of this one when it is run from a checkout."""
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return NOT_INSTALLED
