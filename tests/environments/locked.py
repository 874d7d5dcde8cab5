"""Ends with one sentence where something is installed that the lock does not name in this version.

`python -m tests.environments.locked`, in the environment that is looked at. Left out are the project itself, and pip,
which comes with the interpreter and installs the rest. The wheel of the embedded model is pinned by `sipit download`.
"""

import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sipit.cli.commands.download import EMBEDDED
from tests.environments.install import LOCK

LEFT_OUT = {"sipit", "pip"}


def locked(lines: Iterable[str], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The version of every package that the lines name for an environment, by default this one."""
    named = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    holding = [one for one in named if one.marker is None or one.marker.evaluate(dict(environment or {}))]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in holding}


def strangers(installed: Mapping[str, str], named: Mapping[str, str]) -> list[str]:
    """What is installed and not named, or named in another version; the build of a version (`+cpu`) is left open."""
    told = {canonicalize_name(name): Version(version).public for name, version in installed.items()}
    return [
        f"{name} {version} ({'locked is ' + named[name] if name in named else 'not in the lock'})"
        for name, version in sorted(told.items())
        if name not in LEFT_OUT and (name not in named or Version(version) != Version(named[name]))
    ]


def main() -> None:
    named = locked([*LOCK.read_text(encoding="utf-8").splitlines(), *EMBEDDED.values()])
    here = {one.name: one.version for one in distributions(path=[*map(sysconfig.get_path, ("purelib", "platlib"))])}
    found = strangers(here, named)
    if found:
        sys.stderr.write(
            f"Expected in {sys.prefix} only what lock.txt names, but got {', '.join(found)}; "
            "make it anew (make clean), or add what is missing to pyproject.toml and renew the lock (make lock).\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
