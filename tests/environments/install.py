"""Installs the project into the environment of the Python that runs this, as a lock or an edge of its ranges says.

    python tests/environments/install.py lock|oldest|newest EXTRA [--keep PACKAGE]

`lock` takes the versions of lock.txt, `oldest` every lower bound of pyproject.toml exactly, `newest` the newest that
its ranges allow. The standard library alone: nothing is installed yet. The build back-end is installed first and in the
same way, and the project is built with it: an isolated build would fetch one that nothing names.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "lock.txt"
BACK_END = ("hatchling", "editables")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,]+)\])?(?:>=(?P<oldest>[\w.]+))?")
WAY_OUT = {
    "lock": "check the network and the disk, name another Python (make PYTHON=…), or renew the lock (make lock)",
    "oldest": "raise the lower bound that stands in the way",
    "newest": "lower the upper bound that stands in the way",
}


def requirements(extra: str) -> dict[str, str]:
    """Lower bounds of what the project and one of its extras require directly, by name; "" where there is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found: dict[str, str] = {}
    for one in filter(None, map(REQUIREMENT.match, lines)):
        if one["name"] == project["name"]:  # "sipit[fuzz]": other extras belong to this one
            for other in one["extras"].split(","):
                found |= requirements(other)
        else:
            found[one["name"]] = one["oldest"] or ""
    return found


def locked_line(name: str) -> str:
    """The line of the lock for a package that has the same version everywhere."""
    return next(line for line in LOCK.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}=="))


def constraints(versions: str, extra: str, keep: Sequence[str] = ()) -> str:
    """The constraints that pip is given; those of `keep` have the version of the lock in any case."""
    if versions == "lock":
        return LOCK.read_text(encoding="utf-8")
    bounds = requirements(extra) if versions == "oldest" else {}
    lines = [f"{name}=={oldest}" for name, oldest in bounds.items() if oldest and name not in keep]
    return "\n".join([*lines, *map(locked_line, keep)])


def sentence(versions: str, said: str) -> str:
    """What is told when pip fails, from all that it said."""
    errors = [line for line in re.findall(r"^ERROR: (.*)$", said, re.MULTILINE) if not line.startswith("Exception")]
    reason = (errors or said.splitlines() or ["nothing"])[0 if errors else -1]
    reason = re.sub(r" \(from versions: [^)]{40,}\)", "", reason).rstrip(". ")
    causes = re.search(r"^The conflict is caused by:\n((?: +.*\n)+)", said, re.MULTILINE)
    if causes is not None:
        reason += f" ({', '.join(line.strip() for line in causes[1].splitlines())})"
    what = "lock.txt names" if versions == "lock" else f"are the {versions} that pyproject.toml allows"
    return f"Expected to install the versions that {what}, but pip says: {reason}; {WAY_OUT[versions]}."


def pip(versions: str, constraint: Path, *arguments: str) -> None:
    """Runs `pip install` and ends the program where it fails: with what pip said, then one sentence."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--constraint", str(constraint)]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write("".join(done.stdout.splitlines(keepends=True)[-30:]) + sentence(versions, done.stdout) + "\n")
        sys.exit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", choices=WAY_OUT)
    parser.add_argument("extra")
    parser.add_argument("--keep", action="append", default=[], help="a package that stays as the lock has it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "constraints.txt"
        constraint.write_text(constraints(given.versions, given.extra, given.keep), encoding="utf-8")
        pip(given.versions, constraint, *BACK_END)
        pip(given.versions, constraint, "--no-build-isolation", "--editable", f".[{given.extra}]")
    if given.versions != "lock":
        sys.stdout.write(f"{given.versions} edge: {installed(given.extra, given.keep)}\n")


def installed(extra: str, keep: Sequence[str]) -> str:
    """What is installed of the direct requirements, in one line."""
    here = [f"{name} {metadata.version(name)}{' (as locked)' * (name in keep)}" for name in requirements(extra)]
    return ", ".join([f"Python {sys.version.split()[0]}", *here])


if __name__ == "__main__":
    main()
