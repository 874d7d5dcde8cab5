"""Wheel and sdist hold the three packages with their templates, and nothing else that is imported."""

import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.docs.blocks import ROOT

PACKAGES = ("proofs", "numerics", "sipit")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both, built without network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def sources():
    """Every file of the packages that is kept in the project."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return {name for name in files if (ROOT / name).exists()}


def test_the_wheel_holds_the_three_packages_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources()
    assert any(name.endswith(".j2") for name in names)


def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    kept = {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert names == sources() | kept


def test_the_wheel_runs_where_nothing_else_of_the_project_is(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sipit, proofs, numerics, sys; from sipit.cli import run; "
        "assert all(m.__file__.startswith(sys.argv[1]) for m in (sipit, proofs, numerics)); "
        "sys.exit(run(['check', 'tiny-gpt2', '-o', 'r.json']) or run(['report', 'r.json', '-o', 'r.html']))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "SIPIT_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tiny-gpt2" in (tmp_path / "r.html").read_text()
