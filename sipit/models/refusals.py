"""What a body raises when it is handed something that it does not understand, told from a machine without memory."""

from types import TracebackType

from proofs.errors import short_of_memory

REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What it raises then; where a body runs, `Refusals` is what to use."""


class Refusals:
    """Ends a block at a refusal. That memory has run out is none, and passes: less at once would have been understood.

    Attributes:
        reason: what was raised; None where the block came to its end.
    """

    def __init__(self) -> None:
        self.reason: Exception | None = None

    def __enter__(self) -> "Refusals":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not isinstance(error, REFUSALS) or short_of_memory(error):
            return False
        self.reason = error
        return True
