"""What an examination finds."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proofs.verdict import Verdict
from sipit.installation.checks import Check

if TYPE_CHECKING:
    from sipit.models import LanguageModel


@dataclass
class Examination:
    """What an installation can do: lines, and what they rest on. Evidence, see `proofs.Evidence`.

    `versions` are those of Python and of the libraries that are installed, `devices` what torch says is there and how a
    product on each came out, `abilities` what the body of `model` was found to understand.
    """

    checks: list[Check] = field(default_factory=list[Check])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    devices: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    abilities: dict[str, Any] | None = None
    model: "LanguageModel | None" = None

    @property
    def verdict(self) -> Verdict:
        """`broken` if anything is, else `degraded` if anything is, else `ok`."""
        return Verdict.worst(check.status for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The `result` of a record."""
        return {
            "checks": [check.to_json() for check in self.checks],
            "abilities": self.abilities,
            "versions": self.versions,
            "devices": self.devices,
        }
