"""`sipit doctor` as a whole, the round trip of sound and of unsound bodies, and the errors that point to it."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from packaging.specifiers import SpecifierSet

from proofs.errors import InvalidInput, SipitError, Unsupported
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.installation import blame, examination, machine, processor, round_trip, versions
from sipit.installation.checks import Check
from sipit.installation.examination import Examination, examine
from sipit.installation.round_trip import check_abilities, check_round_trip
from sipit.installation.versions import Library, libraries_named, python_required
from sipit.states.files import States
from tests.sipit.cases import ALL_FAMILIES, rest_slow, tiny
from tests.sipit.faulty_bodies import FAULTS, RUN, forgets_beyond_twelve, wrapped_model

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "status", "detail", "remedy"}
WAYS = {f"round trip, {way}" for way in ("one forward", "token by token with a cache", "a batch padded on the left",
                                         "a batch padded on the right")}  # fmt: skip


def statuses(lines):
    return {line.name: line.status.value for line in lines}


def python(code, **environment):
    """Runs some code in a process of its own, in an environment with changes (None takes a variable away)."""
    changed = os.environ | environment
    kept = {name: value for name, value in changed.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.fixture
def nothing_imported(monkeypatch):
    """Libraries are taken to be importable: trying it takes seconds, and has tests of its own."""
    monkeypatch.setattr(examination, "import_errors", lambda modules: dict.fromkeys(modules))


# The command.


def test_the_record_is_that_of_the_contract(capsys, nothing_imported):
    capsys.readouterr()
    status = run(["doctor", "--json", "--seed", "3"])
    output = capsys.readouterr().out
    record = Record.from_json(json.loads(output))
    assert record.dumps() + "\n" == output
    assert (record.command, record.verdict.exit_status) == ("doctor", status)
    assert {*record.result} == {"checks", "abilities", "versions", "devices"}
    assert all({*check} == FIELDS for check in record.result["checks"])
    assert all((check["remedy"] is None) is (check["status"] == "ok") for check in record.result["checks"])
    found = {check["name"]: check["status"] for check in record.result["checks"]}
    assert found.keys() >= WAYS | {"python", "libraries", "processor", "idle threads", "cpu", "memory", "cache"}
    assert {found[name] for name in WAYS} == {"ok"}
    assert record.result["abilities"] == tiny("llama").abilities.as_dict()
    assert {"python", "sipit", "torch", "transformers"} <= {*record.result["versions"]}
    assert record.result["devices"][0]["device"] == "cpu"
    assert (record.provenance["model"], record.provenance["seed"]) == ("tiny-llama", 3)


@pytest.mark.parametrize(("found", "expected"), [("ok", 0), ("degraded", 3), ("broken", 1)])
@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_the_exit_status_is_that_of_the_worst_line_and_the_page_shows_it(
    capsys, monkeypatch, tmp_path, found, expected, ending
):
    lines = [Check("one", Verdict.OK, "fine"), Check("two", Verdict(found), "seen", None if found == "ok" else "do so")]
    monkeypatch.setattr(examination, "examine", lambda *_arguments, **_named: Examination(checks=lines))
    capsys.readouterr()
    path = tmp_path / f"r.{ending}"
    assert run(["doctor", "-o", str(path)]) == expected
    shown = capsys.readouterr().out
    assert ("→ do so" in shown) is (found != "ok")
    page = path.read_text(encoding="utf-8")
    assert found in page and ("do so" in page) is (found != "ok")


@pytest.mark.parametrize("line", [
    [""], ["nothing-here"], ["a\0b"], ["tiny-x"], ["--dtype", "int3"], ["--device", "cuda:77"], ["--device", "abacus"],
    ["--device", "meta"], ["-o", "r.pdf"], ["-o", ""], ["--seed", "-1"], ["--seed", "x"], ["--nothing"],
])  # fmt: skip
def test_bad_input_is_told_as_everywhere(capsys, nothing_imported, line):
    capsys.readouterr()
    assert run(["doctor", *line]) == 2
    output, error = capsys.readouterr()
    assert output == "" and re.fullmatch(r"sipit: [^\n]+\n", error)


@pytest.mark.slow
def test_a_torch_that_cannot_be_imported_is_a_line(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    code = "import sys; sys.argv[1:] = ['doctor', '--json']; from sipit.cli import main; main()"
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = python(code, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (1, "")
    found = {check["name"]: check for check in json.loads(done.stdout)["result"]["checks"]}
    assert found["torch"]["status"] == found["round trip"]["status"] == "broken"
    assert "libcudart.so.13" in found["torch"]["detail"]
    assert "pip install --force-reinstall 'torch" in found["torch"]["remedy"]
    assert found["memory"]["status"] in {"ok", "degraded"}


@pytest.mark.parametrize("name", ["check_python", "check_memory", "check_cache", "check_required", "check_optional",
                                  "libraries_named", "import_errors"])  # fmt: skip
def test_whatever_raises_there_is_an_examination(monkeypatch, nothing_imported, name):
    def failing(*_arguments):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(examination, name, failing)
    monkeypatch.setattr(machine, "check_machine", lambda *_arguments, **_named: iter(()))
    found = examine()
    assert found.verdict is Verdict.BROKEN
    assert any("RuntimeError: unforeseen" in check.detail for check in found.checks)


@pytest.mark.parametrize("name", [
    "check_processor", "check_round_trip",
    *(pytest.param(name, marks=pytest.mark.slow)
      for name in ("examine_device", "gguf_file", "check_abilities", "load_model")),
])  # fmt: skip
def test_whatever_raises_on_torch_the_others_go_on(monkeypatch, nothing_imported, name):
    def failing(*_arguments, **_named):
        raise RuntimeError("unforeseen")

    everything = {line.name for line in examine().checks} if name == "check_processor" else set()
    monkeypatch.setattr(machine, name, failing)
    found = statuses(examine().checks)
    assert list(found.values()).count("broken") == 1
    assert everything - {*found} <= {"idle threads"}


def test_what_others_do_about_an_embedded_model_that_is_missing(monkeypatch):
    from proofs.errors import MissingResource

    def missing():
        raise MissingResource("Expected it; run: sipit download smollm2")

    monkeypatch.setattr(machine, "gguf_file", missing)
    (line,) = machine.check_embedded()
    assert (line.status, line.remedy) == (Verdict.DEGRADED, "sipit download smollm2")


# Bodies.


@pytest.mark.parametrize("family", [
    pytest.param(name, marks=() if name in ("gpt2", "llama", "mamba") else pytest.mark.slow) for name in ALL_FAMILIES
])  # fmt: skip
def test_every_family_makes_its_round_trip(family):
    model = tiny(family)
    found = statuses(check_round_trip(model, seed=0))
    assert {*found.values()} == {"ok"}
    assert len(found) == 2 + (model.abilities.memory is not None) + len(model.abilities.padding) - 1


@pytest.mark.parametrize("name", rest_slow(*RUN[1::2], of=RUN))
def test_a_body_that_does_not_understand_is_slower_and_right(name):
    model = wrapped_model("llama", FAULTS[name])
    line = check_abilities(model)
    lost = {"memory", "packing", "padding on the left", "padding on the right"} & {*model.abilities.refused}
    assert line.status is (Verdict.DEGRADED if lost else Verdict.OK)
    assert all(model.abilities.refused[ability] in line.detail for ability in lost)
    found = statuses(check_round_trip(model, seed=0))
    assert {*found.values()} == {"ok"}
    assert ("round trip, token by token with a cache" in found) is (model.abilities.memory is not None)


def test_a_way_that_does_more_than_round_is_broken(empty_cache):
    found = {line.name: line for line in check_round_trip(wrapped_model("llama", forgets_beyond_twelve), seed=0)}
    line = found["round trip, token by token with a cache"]
    assert line.status is Verdict.BROKEN
    assert "times what rounding explains" in line.detail


def test_a_fault_at_full_depth_is_found(monkeypatch):
    model, captured = tiny("llama"), round_trip.capture

    def capture(*arguments, layer, **named):
        states = captured(*arguments, layer=layer, **named)
        if layer == model.layers and named.get("padding") == "left":
            return States(tuple(array + 1e-3 for array in states), layer, states.manifest)
        return states

    monkeypatch.setattr(round_trip, "capture", capture)
    found = statuses(check_round_trip(model, seed=0))
    assert [name for name, status in found.items() if status == "broken"] == ["round trip, a batch padded on the left"]


@pytest.mark.parametrize(("change", "status", "words"), [
    (lambda states: states[:1] * 0 + 1, "broken", "no token fits"),
    (lambda states: states, "ok", "recovered"),
])  # fmt: skip
def test_states_of_no_prompt_are_broken(monkeypatch, change, status, words):
    captured = round_trip.capture

    def capture(*arguments, layer, **named):
        states = captured(*arguments, layer=layer, **named)
        if layer == round_trip.LAYER:
            return States(tuple(change(array).expand_as(array) for array in states), layer, states.manifest)
        return states

    monkeypatch.setattr(round_trip, "capture", capture)
    line = next(check_round_trip(tiny("gpt2"), seed=0))
    assert (line.status.value, words in line.detail) == (status, True)


def test_a_wrong_token_is_broken(monkeypatch):
    asked = round_trip.Inverter.invert_all
    monkeypatch.setattr(
        round_trip.Inverter, "invert_all",
        lambda self, states, truth: asked(self, states, truth=[ids[::-1] for ids in truth]),
    )  # fmt: skip
    line = next(check_round_trip(tiny("gpt2"), seed=0))
    assert (line.status, "wrong token" in line.detail) == (Verdict.BROKEN, True)


def test_a_type_in_which_tokens_cannot_be_told_apart_is_degraded(monkeypatch):
    from tests.sipit.cases import with_rows

    model = with_rows("gpt2", [(ord("T"), ord("U"))])  # one class: the first token stays ambiguous
    line = next(check_round_trip(model, seed=0))
    assert (line.status, line.remedy) == (Verdict.DEGRADED, "take a --dtype that rounds less")


def test_a_model_without_a_tokenizer_makes_its_round_trip():
    from tests.sipit.cases import language_model

    model = language_model(tiny("llama").module)
    assert {*statuses(check_round_trip(model, seed=1)).values()} == {"ok"}


# Threads.

AWAKE = (
    "from sipit.installation.processor import check_processor\n"
    "line = list(check_processor())[1]\nprint(line.status.value, line.detail)"
)
UNSET = dict.fromkeys(("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"))


@pytest.mark.parametrize("package", ["sipit", "numerics", "sipit.cli"])
def test_idle_threads_are_to_sleep_before_torch_is_loaded(package):
    code = f"import {package}, os, sys; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    assert python(code, **UNSET).stdout == "PASSIVE False\n"


@pytest.mark.parametrize(("name", "value"), [
    ("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "300000"), ("KMP_BLOCKTIME", "200"),
])  # fmt: skip
def test_who_has_chosen_has_chosen(name, value):
    code = f"import os, sipit, numerics; print(os.environ[{name!r}], os.environ.get('OMP_WAIT_POLICY'))"
    expected = value if name == "OMP_WAIT_POLICY" else None
    assert python(code, **(UNSET | {name: value})).stdout == f"{value} {expected}\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the GNU library")
@pytest.mark.parametrize(("first", "chosen", "status", "words"), [
    ("", {}, "ok", "they sleep"),
    ("import torch", {}, "degraded", "torch was loaded first"),
    ("", {"OMP_WAIT_POLICY": "ACTIVE"}, "degraded", "OMP_WAIT_POLICY=ACTIVE"),
])  # fmt: skip
def test_what_threads_do_is_seen_and_not_believed(first, chosen, status, words):
    done = python(f"{first}\n{AWAKE}", **(UNSET | {"OMP_NUM_THREADS": "2"} | chosen))
    assert done.stdout.startswith(status), done.stderr
    assert words in done.stdout


@pytest.mark.parametrize(
    ("share", "first", "status"), [(0.01, True, "ok"), (0.5, True, "degraded"), (0.5, False, "degraded")]
)
def test_threads_that_stay_awake_are_degraded(monkeypatch, share, first, status):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(processor, "_work_while_waiting", lambda: share)
    monkeypatch.setattr(processor, "TORCH_CAME_FIRST", first)
    line = list(processor.check_processor())[1]
    assert line.status.value == status
    assert status == "ok" or ("torch was loaded first" in line.detail) is first


# Errors of other commands.

ENVIRONMENT = [
    ImportError("libcudart.so.13: cannot open shared object file", name="torch"),
    ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers"),
    ImportError("no name here"),
    OSError("libgomp.so.1: cannot open shared object file"),
    PermissionError(13, "Permission denied", "/somewhere"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    PackageNotFoundError("sipit"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
]
OURS = [KeyError("x"), TypeError("f() got an unexpected keyword argument 'cache'"), AttributeError("no\nsuch"),
        ImportError("cannot import name 'x' from 'sipit.models'", name="sipit.models"), AssertionError()]  # fmt: skip


def ended(capsys, monkeypatch, error):
    def failing(*_arguments, **_named):
        raise error

    monkeypatch.setattr("sipit.models.load_model", failing)
    capsys.readouterr()
    status = run(["invert", "tiny-gpt2", "--text", "a", "--json"])
    output, said = capsys.readouterr()
    assert output == ""
    return status, said


@pytest.fixture
def outside(monkeypatch):
    library = Library("transformers", SpecifierSet(">=5,<6"))
    vars(library)["installed"] = "4.1"
    monkeypatch.setattr(blame, "out_of_range", lambda: [library])


@pytest.fixture
def inside(monkeypatch):
    monkeypatch.setattr(blame, "out_of_range", list)


@pytest.mark.parametrize("error", ENVIRONMENT, ids=repr)
def test_an_error_of_the_environment_is_one_sentence_that_points_to_the_doctor(capsys, monkeypatch, inside, error):
    status, said = ended(capsys, monkeypatch, error)
    assert status == 2
    assert re.fullmatch(r"sipit: Expected [^\n]+ run sipit doctor to see what this installation can do\.\n", said)


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_a_fault_of_ours_is_70_with_what_to_report(capsys, monkeypatch, inside, error):
    status, said = ended(capsys, monkeypatch, error)
    assert status == 70
    assert "Traceback" in said and type(error).__name__ in said
    assert said.endswith("please report the lines above with the output of sipit doctor --json.\n")


@pytest.mark.parametrize("error", OURS[:3], ids=repr)
def test_where_a_version_is_outside_it_is_to_blame(capsys, monkeypatch, outside, error):
    status, said = ended(capsys, monkeypatch, error)
    assert status == 2
    assert re.fullmatch(r"sipit: Expected transformers[<>=,56]+, but 4\.1 is installed [^\n]+ sipit doctor\.\n", said)


def test_what_is_refused_on_purpose_names_the_version_and_bad_input_does_not(capsys, monkeypatch, outside):
    status, said = ended(capsys, monkeypatch, Unsupported("Expected a causal model, but it is none: why."))
    assert status == 2
    assert re.fullmatch(r"sipit: [^\n]+none: why; transformers 4\.1 is outside [^\n]+ sipit doctor\.\n", said)
    status, said = ended(capsys, monkeypatch, InvalidInput("Expected a model; name one."))
    assert (status, said) == (2, "sipit: Expected a model; name one.\n")


@pytest.mark.parametrize("kind", [Unsupported, InvalidInput, SipitError])
def test_within_the_ranges_a_sentence_is_left_as_it_is(capsys, monkeypatch, inside, kind):
    assert ended(capsys, monkeypatch, kind("Expected it; do so.")) == (2, "sipit: Expected it; do so.\n")


@pytest.mark.slow
def test_a_checkout_that_is_not_installed_knows_its_ranges_and_says_so(monkeypatch):
    installed, python = {one.name: one for one in libraries_named()}, python_required()
    monkeypatch.setattr(versions, "PROJECT", "sipit-that-is-not-installed")
    assert {one.name: one for one in libraries_named()} == installed
    assert python_required().specifier == python.specifier
    lines = {check.name: check for check in examine().checks}
    assert lines["sipit"].status is Verdict.DEGRADED and "0 of 0" not in lines["libraries"].detail
