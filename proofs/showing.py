"""How a result shows itself in a notebook: by whoever knows pages. This package knows none, and shows nothing."""

from importlib import import_module
from typing import Any

_homes: list[str] = []


def show_with(module: str) -> None:
    """Names the module that shows results; it is imported when it is first asked."""
    _homes[:] = [module]


class Shown:
    """A result with a view: as HTML in a notebook, as a table, as a figure."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """The chapter of this result, for a notebook; None where nothing shows results."""
        return import_module(_homes[0]).html(self) if _homes else None

    def to_dataframe(self) -> Any:
        """The rows of this result as a `pandas.DataFrame`, which has to be installed.

        Raises:
            MissingResource: pandas is not installed, or `sipit` was not imported.
        """
        return _viewer().dataframe(self)

    def plot(self) -> Any:
        """The figure of this result as a `matplotlib.figure.Figure`.

        Raises:
            MissingResource: `sipit` was not imported.
        """
        return _viewer().plot(self)


def _viewer() -> Any:
    from proofs.errors import MissingResource

    if not _homes:
        raise MissingResource("Expected a package that shows results, but none was imported; write: import sipit.")
    return import_module(_homes[0])
