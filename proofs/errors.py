"""The exceptions of the three packages: misuse is raised, mathematics is returned.

An undecided, ambiguous or negative answer is a value (`proofs.Verdict`), never an exception. What is raised to a caller
is input that cannot be worked with; its message is one sentence that says what was expected, what came, and the
way out. The command line prints it and ends with exit status 2.

Exceptions that are caught inside the packages are not below `SipitError`, so that nobody takes them for misuse: a
check's `Rejected` and `TooLarge`, `TooLong` of exact algebra, `Reached` of a run that has gone far enough.
"""

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "device ran out of it")


class SipitError(Exception):
    """Root of what is raised where a caller, a file or the installation is not what a call needs."""


class InvalidInput(SipitError, ValueError):
    """An argument or a file that is not what the call needs."""


class Unsupported(SipitError, NotImplementedError):
    """A model or an operation outside what can be treated soundly; the message says why."""


class MissingResource(SipitError, LookupError):
    """Something that can be installed or downloaded is not there; the message names the command that gets it."""


class Fault(Exception):
    """A fault of this program, found by a check of its own: nothing may be claimed, and it should be reported.

    It is no `SipitError`: nothing that the caller changes would help.
    """


def short_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory has run out; torch has no class for it on the CPU, and raises RuntimeError."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)
