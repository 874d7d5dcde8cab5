"""What an installation can do, found out by trying: `examine`, the library behind `sipit doctor`.

Names are loaded when they are used: torch may be what is broken, and a command that fails asks here why.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipit.installation.checks import Check
    from sipit.installation.examination import examine
    from sipit.installation.found import Examination

_HOMES = {
    "Check": "sipit.installation.checks",
    "Examination": "sipit.installation.found",
    "examine": "sipit.installation.examination",
}

__all__ = ["Check", "Examination", "examine"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sipit.installation' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
