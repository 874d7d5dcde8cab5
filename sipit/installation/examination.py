"""The examination of an installation: all checks; this module needs no torch, since torch may be what is broken."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from proofs.errors import InvalidInput
from sipit.installation.checks import Check, broken, degraded, tried
from sipit.installation.found import Examination
from sipit.installation.importing import import_errors
from sipit.installation.libraries import NEEDED, check_optional, check_python, check_required
from sipit.installation.storage import check_cache, check_memory
from sipit.installation.versions import PROJECT, Library, libraries_named, project, python_required
from sipit.models.names import chosen

DEFAULT = "tiny-llama"


def examine(name: str | None = None, *, dtype: str = "float32", device: str = "cpu", seed: int = 0) -> Examination:
    """Tries what this installation can do; what raises inside a check is a broken line.

    Args:
        name: the model whose body is looked at and whose states make the round trip; by default a tiny one.
        dtype: what it computes in.
        device: where it runs.
        seed: draws the parameters of a tiny model.

    Raises:
        InvalidInput: no such model, dtype or device.
    """
    found = Examination()
    libraries: list[Library] = []
    found.checks += tried("python", lambda: _versions(found, libraries))
    required = [library for library in libraries if library.extra is None]
    optional = [library for library in libraries if library.extra is not None]

    def with_torch() -> Iterator[Check]:
        if any(first.result()[module] is not None for module in NEEDED):
            yield broken("round trip", f"not tried: it needs {' and '.join(NEEDED)}", "mend these first")
            return
        from sipit.installation.machine import check_machine  # needs torch

        yield from check_machine(
            found, chosen(DEFAULT) if name is None else name, dtype=dtype, device=device, seed=seed
        )

    # Importing takes longest: all of it begins now, and that of the extras goes on behind the checks before theirs.
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(import_errors, [*dict.fromkeys((*NEEDED, *_modules(required)))])
        second = pool.submit(import_errors, _modules(optional))
        steps: Mapping[str, Callable[[], Iterator[Check]]] = {
            "memory": check_memory,
            "cache": check_cache,
            "libraries": lambda: check_required(required, first.result()),
            "machine": with_torch,
            "optional libraries": lambda: check_optional(optional, second.result()),
        }
        for title, check in steps.items():
            found.checks += tried(title, check, let_through=InvalidInput)
    return found


def _versions(found: Examination, libraries: list[Library]) -> Iterator[Check]:
    """The line about Python; versions and the libraries that the metadata names are put where they are wanted."""
    python, itself = python_required(), project().installed
    found.versions |= {"python": str(python.installed), PROJECT: itself or "not installed"}
    yield check_python(python)
    if itself is None:
        yield degraded(PROJECT, "a checkout that is not installed is run", "pip install -e .")
    libraries += libraries_named()
    found.versions |= {library.name: library.installed for library in libraries if library.installed is not None}


def _modules(libraries: list[Library]) -> list[str]:
    """What is imported of the libraries that are installed."""
    return [library.module for library in libraries if library.installed is not None]
