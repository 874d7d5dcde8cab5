"""The libraries that this project names in its own metadata, and whether those installed are within its ranges."""

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PROJECT = "sipit"
_MODULES = {"python-flint": "flint"}  # the others are imported under the name of the distribution
_EXTRAS = ("quantization", "cluster", "fuzz", "adapters")  # that users install; the others are for developing


@dataclass(frozen=True)
class Library:
    """A distribution, the range of versions that is asked for, and the extra that asks; None for every installation."""

    name: str
    specifier: SpecifierSet
    extra: str | None = None

    @property
    def module(self) -> str:
        """What is imported."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))

    @cached_property
    def installed(self) -> str | None:
        """The version that is installed."""
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None

    @property
    def in_range(self) -> bool:
        """Whether what is installed, if anything is, lies within the range."""
        return self.installed is None or self.specifier.contains(self.installed, prereleases=True)

    @property
    def remedy(self) -> str:
        """The command that installs a version within the range."""
        if self.extra is not None:
            return f"pip install '{PROJECT}[{self.extra}]'"
        return f"pip install '{self.name}{self.specifier}'"


def python_required() -> Library:
    """Python itself; its version is the one that runs."""
    python = Library("python", SpecifierSet(str(metadata.metadata(PROJECT).json.get("requires_python", ""))))
    vars(python)["installed"] = platform.python_version()
    return python


def libraries_named() -> list[Library]:
    """The libraries of every installation, then those of the extras that users install, as the metadata lists them.

    Raises:
        PackageNotFoundError: the project runs without having been installed.
    """
    found: dict[str, Library] = {}
    for text in metadata.requires(PROJECT) or []:
        requirement = Requirement(text)
        for extra in (None, *_EXTRAS):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": extra or ""}):
                found.setdefault(requirement.name, Library(requirement.name, requirement.specifier, extra))
    return sorted(found.values(), key=lambda library: library.extra is not None)  # stable


def out_of_range() -> list[Library]:
    """The libraries that are installed in a version outside the range."""
    return [library for library in libraries_named() if not library.in_range]
