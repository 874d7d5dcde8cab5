"""Python and the libraries: installed, within the range that the project states, and importable."""

from collections.abc import Iterator, Mapping, Sequence

from sipit.installation.checks import Check, broken, degraded, ok
from sipit.installation.versions import Library

NEEDED = ("torch", "transformers")  # what everything that computes runs on
_PURPOSES = {
    "quantization": "number formats of its own in sipit quantization",
    "cluster": "--engine ray: more than one machine",
    "fuzz": "sipit fuzz and sipit.strategies",
    "adapters": "checkpoints that are adapters",
}


def check_python(python: Library) -> Check:
    """The line about Python."""
    detail = f"{python.installed}, {'within' if python.in_range else 'outside'} {python.specifier or 'any version'}"
    if python.in_range:
        return ok("python", detail)
    return degraded("python", detail, f"make a new environment with Python {python.specifier}")


def check_required(libraries: Sequence[Library], errors: Mapping[str, str | None]) -> Iterator[Check]:
    """One line about the libraries that are as they should be, and one for each that is not.

    Args:
        libraries: those of every installation.
        errors: of `import_errors`, by module.
    """
    lines = [_line(library, errors) for library in libraries]
    good = [library for library, line in zip(libraries, lines, strict=True) if line is None]
    named = ", ".join(f"{library.name} {library.installed}" for library in good if library.name in NEEDED)
    counted = f"{len(good)} of {len(libraries)} lie within the ranges and can be imported"
    yield ok("libraries", f"{counted}; {named}" if named else counted)
    yield from (line for line in lines if line is not None)


def check_optional(libraries: Sequence[Library], errors: Mapping[str, str | None]) -> Iterator[Check]:
    """One line for each library of an extra: what it is for, and whether it can be used."""
    for library in libraries:
        purpose = _PURPOSES[library.extra or ""]
        if library.installed is None:
            yield degraded(library.name, f"not installed; it is for {purpose}", library.remedy)
        else:
            line = _line(library, errors)
            yield ok(library.name, f"{library.installed}, for {purpose}") if line is None else line


def _line(library: Library, errors: Mapping[str, str | None]) -> Check | None:
    """What is wrong with a library, if anything is."""
    if library.installed is None:
        return broken(library.name, "not installed", library.remedy)
    reason = errors.get(library.module)
    outside = "" if library.in_range else f", outside {library.specifier}"
    if reason is not None:
        again = f"pip install --force-reinstall '{library.name}{library.specifier}'"
        return broken(library.name, f"{library.installed}{outside}; it cannot be imported: {reason}", again)
    return degraded(library.name, f"{library.installed}{outside}", library.remedy) if outside else None
