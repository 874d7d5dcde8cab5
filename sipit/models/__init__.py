"""Models: the embedded one, tiny ones of many families, and whatever `from_pretrained` takes.

Names are loaded when they are used: what looks at the files of a model alone needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipit.models.language_model import LanguageModel
    from sipit.models.loading import load_model

__all__ = ["LanguageModel", "load_model"]

_HOMES = {"LanguageModel": "sipit.models.language_model", "load_model": "sipit.models.loading"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sipit.models' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
