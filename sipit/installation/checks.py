"""One line of an examination, and how a check that raises becomes one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proofs.errors import SipitError
from proofs.verdict import Verdict

REPORT = "If no other line explains it, report this one."
_LONGEST = 300  # characters of what a library says


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one part of an installation.

    `status` is `ok`, `degraded` (something is slower or missing) or `broken`; `remedy` is what to do, None where
    nothing has to be done.
    """

    name: str
    status: Verdict
    detail: str
    remedy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of a record's `checks`."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "remedy": self.remedy}


def ok(name: str, detail: str) -> Check:
    """A line that is as it should be."""
    return Check(name, Verdict.OK, detail)


def degraded(name: str, detail: str, remedy: str) -> Check:
    """A line about what is slower or missing."""
    return Check(name, Verdict.DEGRADED, detail, remedy)


def broken(name: str, detail: str, remedy: str) -> Check:
    """A line about what does not work."""
    return Check(name, Verdict.BROKEN, detail, remedy)


def tried(
    name: str, check: Callable[[], Iterator[Check]], *, let_through: type[Exception] | tuple[()] = ()
) -> list[Check]:
    """The lines of a check; where it raises, those so far and a broken one of this name with the reason.

    Exceptions to be let through are of the caller's making: they are no finding.
    """
    found: list[Check] = []
    try:
        for line in check():
            found.append(line)
    except let_through:
        raise
    except SipitError as error:
        said, _, way_out = " ".join(str(error).split()).rpartition("; ")
        found.append(broken(name, said or way_out, way_out if said else REPORT))
    except Exception as error:  # noqa: BLE001 - whatever a damaged installation raises is what was asked for
        found.append(broken(name, told(error), REPORT))
    return found


def told(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ").rstrip(": ")[:_LONGEST]
