"""The time that one search has used, where several take turns and share runs of the model."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

from proofs.errors import InvalidInput


def check_budget(budget: Any) -> None:
    """Raises InvalidInput where seconds are none to work in."""
    if not (isinstance(budget, Real) and float(budget) > 0):
        raise InvalidInput(f"Expected a budget of more than 0 seconds, but got {budget}; the default is 600.")


@dataclass(slots=True)
class Clock:
    """Counts towards a budget of wall-clock seconds; runs while it is inside `running`."""

    budget: float
    used: float = 0.0
    _since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds used so far."""
        return self.used + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self.seconds > self.budget

    def charge(self, seconds: float) -> None:
        """Counts time that was used elsewhere: before, or in a run that several share."""
        self.used += seconds

    @contextmanager
    def running(self) -> Generator[None]:
        """What is done inside counts."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self.used, self._since = self.seconds, None
