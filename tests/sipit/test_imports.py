"""Importing costs nothing and reaches for nothing: no torch behind `sipit --help`, no socket anywhere."""

import subprocess
import sys

import pytest

GUARD = """
import socket, sys
def refuse(*arguments, **named):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
"""
HEAVY = ("torch", "transformers", "numpy", "scipy", "numba", "matplotlib", "sympy", "flint", "gguf", "safetensors")


def run(code, *, environment=None):
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )


def loaded(code):
    """Names of the heavy packages that are loaded after some code, in an interpreter of its own."""
    done = run(f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)")
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("\n")[-2].split())


def test_importing_sipit_loads_nothing_heavy():
    assert loaded("import sipit") == set()
    assert loaded("import sipit; dir(sipit); sipit.__all__") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["invert", "--help"], ["capture", "--help"], []])
def test_help_loads_nothing_heavy(arguments):
    code = f"from sipit.cli import run\nrun({arguments!r})"
    assert loaded(code) == set()


def test_the_base_package_needs_no_float_framework():
    code = "import sys\nsys.modules['torch'] = sys.modules['transformers'] = None\nimport proofs, proofs.evidence"
    assert run(code).returncode == 0


def test_every_name_of_the_package_is_there():
    import sipit

    for name in sipit.__all__:
        assert getattr(sipit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sipit.nothing  # noqa: B018 - the access is the test


def test_a_local_run_opens_no_socket_even_when_the_hub_is_not_told_to_be_offline(tmp_path):
    code = GUARD + (
        "import proofs, numerics, sipit, sipit.cli, sipit.inversion.inverter, sipit.models, "
        "sipit.states.capturing, sipit.states.files\n"
        "model = sipit.load_model('tiny-gpt2')\n"
        f"model.module.save_pretrained({str(tmp_path / 'saved')!r})\n"
        f"model = sipit.load_model({str(tmp_path / 'saved')!r})\n"
        "states = sipit.capture(model, [[97, 98]], layer=1)\n"
        "print(sipit.invert(model, states, policy='nearest')[0].token_ids)"
    )
    online = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "SIPIT_CACHE": str(tmp_path / "cache")}
    done = run(code, environment=online)
    assert done.stdout == "[97, 98]\n", done.stderr
