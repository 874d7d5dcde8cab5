"""The libraries that this project names in its own metadata, and whether those installed are within its ranges."""

import platform
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PROJECT = "sipit"
_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"
_MODULES = {"python-flint": "flint"}  # the others are imported under the name of the distribution
# What users install; of the others, notebook is not looked at, and the rest are for developing.
_EXTRAS = ("quantization", "cluster", "fuzz", "adapters")


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
    """Python itself; its version is the one that runs.

    Raises:
        PackageNotFoundError: the project is neither installed nor a checkout.
    """
    try:
        asked = metadata.metadata(PROJECT).json.get("requires_python", "")
    except metadata.PackageNotFoundError:
        asked = _of_the_checkout()["requires-python"]
    python = Library("python", SpecifierSet(str(asked)))
    vars(python)["installed"] = platform.python_version()
    return python


def project() -> Library:
    """The project itself; it has no version that is installed where a checkout is run as it is."""
    return Library(PROJECT, SpecifierSet())


def libraries_named() -> list[Library]:
    """The libraries of every installation, then those of the extras that users install, as the metadata lists them.

    Raises:
        PackageNotFoundError: the project is neither installed nor a checkout.
    """
    found: dict[str, Library] = {}
    for text in _requirements():
        requirement = Requirement(text)
        for extra in (None, *_EXTRAS):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": extra or ""}):
                found.setdefault(requirement.name, Library(requirement.name, requirement.specifier, extra))
    return sorted(found.values(), key=lambda library: library.extra is not None)  # stable


def _requirements() -> list[str]:
    try:
        return metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        said = _of_the_checkout()
        extras = {name: said["optional-dependencies"][name] for name in _EXTRAS}
        return [*said["dependencies"], *(f"{text}; extra == '{name}'" for name in extras for text in extras[name])]


def _of_the_checkout() -> dict[str, Any]:
    """What the metadata of an installation would be made of."""
    if not _CHECKOUT.is_file():
        raise metadata.PackageNotFoundError(PROJECT)
    return tomllib.loads(_CHECKOUT.read_text())["project"]


def out_of_range() -> list[Library]:
    """The libraries that are installed in a version outside the range."""
    return [library for library in libraries_named() if not library.in_range]
