"""Number formats: what each rounds, by which library, and how a module is brought into it."""

from numerics.formats.catalogue import FORMATS, Format

__all__ = ["FORMATS", "Format"]
