"""The door to the libraries that load models: kept quiet, and whatever they raise told in one sentence of ours.

Readers, tokenizers and quantisers raise anything at all on what a stranger has written, so that no list of exceptions
would do. What is about this machine, and not about the file (memory, a device), goes on its way.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager

from numerics.networks.library import one_line, quiet
from proofs.errors import MissingResource, SipitError, Unsupported

_EXTRAS = {"bitsandbytes": "quantization", "torchao": "quantization", "peft": "adapters"}
# How libraries say that another one is missing, and which.
_MISSING = re.compile(
    r"pip3? install (?:-\S+ |--\S+ )*['\"]?([A-Za-z][\w.-]*)"
    r"|requires (?:the |an? )?+`?+(?!GPU|XPU|CUDA)([A-Za-z][\w-]*)"
    r"|([A-Za-z][\w-]*)>=[\w.]+ is required"
    r"|No module named '([\w]+)"
)


@contextmanager
def asked(expected: str, way_out: str) -> Generator[None]:
    """What a library is asked for: it is kept quiet, and what it raises becomes a sentence with these ends.

    Raises:
        MissingResource: another library is needed; says how it is installed.
        Unsupported: the library refuses what it was given; says why.
        OSError, MemoryError: of the machine, as they came.
    """
    try:
        with quiet():
            yield
    except (SipitError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise refusal(error, expected, way_out) from None


def refusal(error: Exception, expected: str, way_out: str) -> SipitError:
    """The sentence for an error of a library."""
    library = missing_library(error)
    if library is not None:
        extra = _EXTRAS.get(library.lower())
        wanted = f"'sipit[{extra}]'" if extra is not None else library
        return MissingResource(
            f"{expected}, but that needs {library}, which is not installed in a version that will do "
            f"({one_line(error)}); run: pip install {wanted}"
        )
    if isinstance(error, ImportError):
        return MissingResource(f"{expected}, but this installation lacks what that needs ({one_line(error)}); add it.")
    return Unsupported(f"{expected}, but {one_line(error)}; {way_out}.")


def missing_library(error: Exception) -> str | None:
    """The library that an error says is not there; None where it says something else."""
    text = str(error)
    if not isinstance(error, ImportError) and "pip install" not in text:
        return None
    found = [name for match in _MISSING.finditer(text) for name in match.groups() if name]
    return getattr(error, "name", None) or next(iter(found), None)
