"""Models: the embedded one, tiny ones of many families, and whatever `from_pretrained` takes."""

from sipit.models.language_model import LanguageModel
from sipit.models.loading import load_model

__all__ = ["LanguageModel", "load_model"]
