"""Recovering prompts from hidden states, with every token verified.

    model = sipit.load_model("smollm2")
    states = sipit.capture(model, ["The quick brown fox"], layer=15)
    inversion, = sipit.invert(model, states)

Names are loaded when they are used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofs.idle_threads import let_idle_threads_sleep
from proofs.showing import show_with

if TYPE_CHECKING:
    from sipit.inversion.inverter import invert
    from sipit.inversion.outcome import Alternative, Inversion, Outcome, TokenResult
    from sipit.models import LanguageModel, load_model
    from sipit.noise.tolerance import Tolerance
    from sipit.privacy.audit import audit_states
    from sipit.privacy.comparison import compare_runs
    from sipit.privacy.leak import measure_leak
    from sipit.states.capturing import capture
    from sipit.states.files import States, read_states, write_states

_HOMES = {
    "capture": "sipit.states.capturing",
    "invert": "sipit.inversion.inverter",
    "LanguageModel": "sipit.models",
    "load_model": "sipit.models",
    "Alternative": "sipit.inversion.outcome",
    "Inversion": "sipit.inversion.outcome",
    "Outcome": "sipit.inversion.outcome",
    "TokenResult": "sipit.inversion.outcome",
    "States": "sipit.states.files",
    "read_states": "sipit.states.files",
    "write_states": "sipit.states.files",
    "Tolerance": "sipit.noise.tolerance",
    "audit_states": "sipit.privacy.audit",
    "compare_runs": "sipit.privacy.comparison",
    "measure_leak": "sipit.privacy.leak",
}

__all__ = [
    "Alternative",
    "Inversion",
    "LanguageModel",
    "Outcome",
    "States",
    "TokenResult",
    "Tolerance",
    "audit_states",
    "capture",
    "compare_runs",
    "invert",
    "load_model",
    "measure_leak",
    "read_states",
    "write_states",
]

let_idle_threads_sleep()  # before torch is loaded
show_with("sipit.report.notebook")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sipit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
