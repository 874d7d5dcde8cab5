"""The lock is whole and of one piece with pyproject.toml, and what cannot be installed ends in one sentence."""

import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.environments import install, locked

ROOT = install.ROOT
LINES = install.LOCK.read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Every kind of machine that the lock is for, as markers of requirements name it.
MACHINES = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.9", "sys_platform": "linux",
     "platform_machine": machine, "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
     "platform_python_implementation": "CPython"}
    for minor in (11, 12, 13) for machine in ("x86_64", "aarch64")
]  # fmt: skip
machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m['python_version']}-{m['platform_machine']}")


def direct(extra):
    """The direct requirements of the project with an extra, extras of extras included."""
    for line in PROJECT["dependencies"] + EXTRAS.get(extra, []):
        one = Requirement(line)
        if one.name == "sipit":
            for other in one.extras:
                yield from direct(other)
        else:
            yield one


@machines
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_lock_names_every_direct_requirement_in_its_range(extra, machine):
    named = locked.locked(LINES, machine)
    for one in direct(extra):
        assert named[one.name.lower()] in one.specifier, f"{one} (make lock)"


def test_what_the_locked_packages_require_here_is_locked_too():
    """Of those that are installed in the locked version."""
    named = locked.locked(LINES)
    for name, version in named.items():
        try:
            found = distribution(name)
        except ModuleNotFoundError:
            continue
        if Version(found.version).public == version:
            for one in map(Requirement, found.requires or []):
                if one.marker is None or one.marker.evaluate({"extra": ""}):
                    assert named[locked.canonicalize_name(one.name)] in one.specifier, f"{one} of {name}"


def test_every_line_of_the_lock_is_one_version_and_names_no_place():
    for line in LINES:
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9.-]+==[\w.]+ *(; [^#]+)?  *# via .*", line), line
    assert not re.search(r"://|--|@ |\.(org|com|io)\b", "\n".join(LINES))


def test_every_range_has_a_lower_bound_and_those_of_users_an_upper_one():
    tools = {"docs", "test", "browser", "dev", "mutation"}
    for extra in ["", *EXTRAS.keys() - tools]:
        for one in direct(extra):
            assert {"<", ">="} == {part.operator for part in one.specifier}, one
    oldest = install.requirements("test")
    assert set(oldest) == {one.name for one in direct("test")}
    assert all(oldest[one.name] in one.specifier for one in direct("test"))


def test_the_oldest_edge_is_every_lower_bound_exactly_and_the_newest_the_ranges():
    lines = install.constraints("oldest", "test").splitlines()
    assert lines == [f"{name}=={version}" for name, version in install.requirements("test").items()]
    assert install.constraints("newest", "test") == ""
    (kept,) = install.constraints("newest", "test", ["torch"]).splitlines()
    assert Requirement(kept.partition("#")[0]).name == "torch"


# What is installed is what is locked.

NAMED = {"torch": "2.13.0", "typing-extensions": "4.16.0"}


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"torch": "2.13.0+cpu", "typing_extensions": "4.16.0", "sipit": "0.1.0", "pip": "23.2.1"}, []),
        ({"torch": "2.13.0", "Typing.Extensions": "4.16"}, []),
        ({}, []),
        ({"torch": "2.14.1"}, ["torch 2.14.1 (locked is 2.13.0)"]),
        ({"torch": "2.13.0.post1"}, ["torch 2.13.0.post1 (locked is 2.13.0)"]),
        ({"ipdb": "0.13", "torch": "2.13.0"}, ["ipdb 0.13 (not in the lock)"]),
    ],
    ids=str,
)
def test_what_is_not_locked_is_named(installed, expected):
    assert locked.strangers(installed, NAMED) == expected


def test_a_version_of_another_machine_is_not_this_ones():
    lines = ["a==1 ; python_version < '3.12'  # via b", "a==2 ; python_version >= '3.12'", "# c", "c==3 ; extra == 'x'"]
    assert [locked.locked(lines, machine)["a"] for machine in MACHINES[::2]] == ["1", "2", "2"]


# What cannot be met.

CONFLICT = """Collecting torch
ERROR: Cannot install sipit[test]==0.1.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    sipit 0.1.0 depends on torch<2.15
    The user requested (constraint) torch==99

ERROR: ResolutionImpossible: for help visit https://example.org
"""
MISSING = f"ERROR: Could not find a version that satisfies the requirement torch==99 (from versions: {'2.13, ' * 9}2)\n"
NOTHING = "ERROR: Could not find a version that satisfies the requirement torch==99 (from versions: none)\n"
FAULT = "ERROR: Exception:\nTraceback (most recent call last):\n  File\nOSError: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("versions", install.WAY_OUT)
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (CONFLICT, "dependencies (sipit 0.1.0 depends on torch<2.15, The user requested (constraint) torch==99);"),
        (MISSING, "says: Could not find a version that satisfies the requirement torch==99;"),
        (NOTHING, "requirement torch==99 (from versions: none);"),
        (FAULT, "says: OSError: [Errno 28] No space left on device;"),
        ("", "says: nothing;"),
    ],
    ids=["conflict", "missing", "no registry", "a fault of pip", "silence"],
)
def test_what_pip_says_becomes_one_sentence_with_a_way_out(versions, said, reason):
    told = install.sentence(versions, said)
    assert told.startswith("Expected to install") and told.endswith(f"{install.WAY_OUT[versions]}.")
    assert reason in told and "\n" not in told


@pytest.mark.slow
@pytest.mark.parametrize("versions", install.WAY_OUT)
def test_an_installation_that_cannot_be_met_ends_with_one_sentence_and_two(tmp_path, versions):
    """With a registry that has nothing."""
    venv.create(tmp_path / "new", with_pip=True)
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run(
        [tmp_path / "new/bin/python", ROOT / "tests/environments/install.py", versions, "test"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    told = done.stderr.splitlines()[-1]
    assert told.startswith("Expected to install") and "hatchling" in told and "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "fits"), [("3.10", False), ("3.11", True), ("3.13", True), ("3.14", False)])
def test_a_python_outside_the_range_is_told_which_to_name(version, fits):
    code = (
        f"import sys, runpy; sys.version_info = ({version.replace('.', ', ')}, 0); sys.version = '{version}.0 x'; "
        "runpy.run_path('tests/environments/check_python.py')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if fits else 2)
    assert (done.stderr == "") is fits
    if not fits:
        assert done.stderr.startswith(f"Expected a Python from 3.11 to 3.13, but got {version}.0 at ")
        assert done.stderr.endswith("; name another: make PYTHON=python3.13\n")
