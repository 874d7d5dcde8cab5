"""Whether an error of some command is one of its environment, and the sentence that says so.

A library that cannot be imported or is outside its range, a system call that fails, memory that has run out: `sipit
doctor` looks at these. Whatever else nobody meant to raise is a fault of ours. Nothing heavy is imported here.
"""

from importlib import metadata

from proofs.errors import InvalidInput, SipitError, short_of_memory
from sipit.installation.checks import told
from sipit.installation.versions import Library, out_of_range

_OURS = ("sipit", "numerics", "proofs")
_OF_A_DEVICE = ("CUDA error", "CUDA driver", "cuDNN error", "CUBLAS_STATUS", "HIP error", "MPS backend")


def environment_fault(error: Exception) -> str | None:
    """The sentence for an error that the environment is to blame for; None where it is a fault of ours."""
    got, end = told(error), "run sipit doctor to see what this installation can do."
    if short_of_memory(error):
        return f"Expected enough memory, but it ran out ({got}); take less at once, or {end}"
    if any(words in str(error) for words in _OF_A_DEVICE):
        return f"Expected the device to do what it is asked for, but got {got}; {end}"
    if isinstance(error, metadata.PackageNotFoundError):
        return f"Expected {error.name} to be installed, but its metadata is missing; pip install {error.name}, or {end}"
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in _OURS:
        return f"Expected {error.name or 'a library'} to be importable, but got {got}; {end}"
    if isinstance(error, OSError):
        return f"Expected the system to do what it is asked for, but got {got}; {end}"
    if (library := _outside()) is not None:
        return f"Expected {_range(library)}, but {library.installed} is installed and fails ({got}); {_remedy(library)}"
    return None


def with_version(error: SipitError) -> str:
    """The sentence of an error raised on purpose; where a version may be what is behind it, that is said too."""
    if isinstance(error, InvalidInput) or (library := _outside()) is None:
        return str(error)
    said = str(error).rstrip(".")
    return f"{said}; {library.name} {library.installed} is outside {_range(library)}: {_remedy(library)}"


def _outside() -> Library | None:
    """The first library that is outside its range."""
    try:
        return next(iter(out_of_range()), None)
    except metadata.PackageNotFoundError:
        return None


def _range(library: Library) -> str:
    return f"{library.name}{library.specifier}"


def _remedy(library: Library) -> str:
    return f"{library.remedy}, or run sipit doctor."
