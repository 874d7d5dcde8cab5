"""Recovering prompts from hidden states, with every token verified.

    model = sipit.load_model("smollm2")
    states = sipit.capture(model, ["The quick brown fox"], layer=15)
    inversion, = sipit.invert(model, states)

Names are loaded when they are used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofs.idle_threads import let_idle_threads_sleep

if TYPE_CHECKING:
    from sipit.capturing import capture
    from sipit.inversion import invert
    from sipit.models import LanguageModel, load_model
    from sipit.outcome import Alternative, Inversion, Outcome, TokenResult
    from sipit.states import States, read_states, write_states
    from sipit.tolerance import Tolerance

_HOMES = {
    "capture": "sipit.capturing",
    "invert": "sipit.inversion",
    "LanguageModel": "sipit.models",
    "load_model": "sipit.models",
    "Alternative": "sipit.outcome",
    "Inversion": "sipit.outcome",
    "Outcome": "sipit.outcome",
    "TokenResult": "sipit.outcome",
    "States": "sipit.states",
    "read_states": "sipit.states",
    "write_states": "sipit.states",
    "Tolerance": "sipit.tolerance",
}

__all__ = [
    "Alternative",
    "Inversion",
    "LanguageModel",
    "Outcome",
    "States",
    "TokenResult",
    "Tolerance",
    "capture",
    "invert",
    "load_model",
    "read_states",
    "write_states",
]

let_idle_threads_sleep()  # before torch is loaded


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sipit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
