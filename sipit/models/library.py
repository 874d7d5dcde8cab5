"""The door to the libraries that load models: kept quiet, and whatever they raise told in one sentence of ours.

Readers, tokenizers and quantisers raise anything at all on what a stranger has written, so that no list of exceptions
would do. What is about this machine, and not about the file (memory, a device), goes on its way.
"""

import logging
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from proofs.errors import MissingResource, SipitError, Unsupported

_LONGEST = 200  # characters of somebody else's error that a sentence of ours holds
_EXTRAS = {"bitsandbytes": "quantization", "torchao": "quantization", "peft": "adapters"}
# How libraries say that another one is missing, and which.
_MISSING = re.compile(
    r"pip3? install (?:-\S+ |--\S+ )*['\"]?([A-Za-z][\w.-]*)"
    r"|requires (?:the |an? )?+`?+(?!GPU|XPU|CUDA)([A-Za-z][\w-]*)"
    r"|([A-Za-z][\w-]*)>=[\w.]+ is required"
    r"|No module named '([\w]+)"
)


@contextmanager
def quiet() -> Generator[None]:
    """Keeps the libraries' progress bars and warnings off the terminal, and leaves their settings as found."""
    from transformers.utils import logging as library

    hub = logging.getLogger("huggingface_hub")
    level, bars, hub_level = library.get_verbosity(), library.is_progress_bar_enabled(), hub.level
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            library.enable_progress_bar()


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


def one_line(error: BaseException) -> str:
    """The first sentence of an error's text, in one line and without a full stop, or its kind; both for KeyError."""
    text, kind = " ".join(str(error).split()).partition(". ")[0], type(error).__name__
    if isinstance(error, KeyError):
        text = f"{kind}: {text}"
    return (text or kind)[:_LONGEST].rstrip(".")
