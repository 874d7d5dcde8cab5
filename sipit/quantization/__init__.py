"""Where number formats void or break the guarantees, measured on one model."""

from sipit.quantization.result import findings, verdict_of
from sipit.quantization.study import QUICK, Extent, Study, chosen_formats

__all__ = ["QUICK", "Extent", "Study", "chosen_formats", "findings", "verdict_of"]
