"""The checks of an installation: every status arises from what it stands for, and what raises is a line."""

import sys
from importlib import metadata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from proofs.errors import InvalidInput, MissingResource, Unsupported
from proofs.verdict import Verdict
from sipit.installation import devices, processor, storage
from sipit.installation.checks import Check, broken, ok, tried
from sipit.installation.examination import Examination
from sipit.installation.importing import import_errors
from sipit.installation.libraries import check_optional, check_python, check_required
from sipit.installation.limits import usable_processors
from sipit.installation.versions import Library, libraries_named
from sipit.memory import usable_memory

NUMBERS = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
STATUSES = (Verdict.OK, Verdict.DEGRADED, Verdict.BROKEN)


def statuses(lines):
    return {line.name: line.status.value for line in lines}


def library(installed, specifier=">=1", *, name="thing", extra=None):
    made = Library(name, SpecifierSet(specifier), extra)
    vars(made)["installed"] = installed
    return made


# Lines.


@given(st.lists(st.sampled_from(STATUSES), min_size=1))
def test_the_worst_line_is_the_verdict(found):
    verdict = Examination(checks=[Check("part", status, "found") for status in found]).verdict
    assert verdict is max(found, key=STATUSES.index)
    assert verdict.exit_status == {"ok": 0, "degraded": 3, "broken": 1}[verdict.value]


RAISED = [
    KeyError("x"), OSError(28, "no room"), RuntimeError("CUDA\nerror: " + "x" * 999), ImportError(), SystemError("?"),
    ZeroDivisionError(), Unsupported("Expected this, but got that; do so."), MissingResource("Expected it"),
]  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_what_raises_is_a_broken_line_behind_those_before_it(error):
    def check():
        yield ok("first", "fine")
        raise error

    before, line = tried("part", check)
    assert before == ok("first", "fine")
    assert (line.name, line.status) == ("part", Verdict.BROKEN)
    assert line.detail and "\n" not in line.detail and len(line.detail) <= 300
    assert line.remedy


def test_the_way_out_of_a_sentence_is_the_remedy():
    def check():
        raise Unsupported("Expected a; b, but got c; take d.")
        yield

    assert tried("part", check) == [broken("part", "Expected a; b, but got c", "take d.")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), InvalidInput("Expected a model; name one.")])
def test_an_interruption_and_what_is_let_through_are_no_findings(error):
    def check():
        raise error
        yield

    with pytest.raises(type(error)):
        tried("part", check, let_through=InvalidInput)


# Versions.


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "+cpu", ".post1"]))
def test_a_version_outside_the_range_is_degraded_and_any_other_is_not(low, high, installed, suffix):
    text = ".".join(map(str, installed)) + suffix
    specifier = f">={'.'.join(map(str, low))},<{'.'.join(map(str, high))}"
    inside = low <= installed < high
    lines = list(check_required([library(text, specifier)], {"thing": None}))
    assert statuses(lines[1:]) == ({} if inside else {"thing": "degraded"})
    assert lines[0].detail.startswith("1 of 1" if inside else "0 of 1")
    python = check_python(library(text, specifier, name="python"))
    assert python.status is (Verdict.OK if inside else Verdict.DEGRADED)
    assert inside or (text in lines[1].detail and "pip install 'thing" in lines[1].remedy)


def test_a_prerelease_counts_as_what_it_precedes():
    assert library("2.15.0rc1", ">=2.13,<3").in_range
    assert not library("2.13.0rc1", ">=2.13").in_range


def test_what_is_missing_or_cannot_be_imported_is_broken_and_says_what_to_install():
    found = [library(None, name="gone"), library("1.2", name="torn-off")]
    _, missing, damaged = check_required(found, {"torn_off": "ImportError: lib"})
    assert (missing.status, damaged.status) == (Verdict.BROKEN, Verdict.BROKEN)
    assert missing.remedy == "pip install 'gone>=1'"
    assert "ImportError: lib" in damaged.detail and "--force-reinstall 'torn-off>=1'" in damaged.remedy


def test_an_optional_library_is_degraded_where_it_is_missing_and_broken_where_it_cannot_be_imported():
    found = [
        library(None, name="ray", extra="cluster"),
        library("1.0", name="peft", extra="adapters"),
        library("0.1", name="hypothesis", extra="fuzz"),
        library("1.5", name="torchao", extra="quantization"),
    ]
    lines = list(check_optional(found, {"peft": "SystemExit: 3"}))
    assert statuses(lines) == {"ray": "degraded", "peft": "broken", "hypothesis": "degraded", "torchao": "ok"}
    assert lines[0].remedy == "pip install 'sipit[cluster]'"
    assert "--engine ray" in lines[0].detail


def test_the_libraries_are_those_of_the_metadata(monkeypatch):
    wanted = ["torch>=2.6", "python-flint>=0.7", 'tomli; python_version < "3"', 'ray>=2; extra == "cluster"',
              'pytest; extra == "test"', 'ray; extra == "test"']  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda name: wanted if name == "sipit" else None)
    assert [(one.name, str(one.specifier), one.extra, one.module) for one in libraries_named()] == [
        ("torch", ">=2.6", None, "torch"),
        ("python-flint", ">=0.7", None, "flint"),
        ("ray", ">=2", "cluster", "ray"),
    ]


def test_every_library_of_this_installation_is_named_and_has_a_purpose():
    named = libraries_named()
    assert {"torch", "transformers", "numpy"} <= {one.name for one in named if one.extra is None}
    assert {"torchao", "bitsandbytes", "ray", "hypothesis"} <= {one.name for one in named if one.extra is not None}
    assert len(list(check_optional([one for one in named if one.extra is not None], {}))) >= 4


# Importing.

MODULES = {
    "good": "",
    "loud": "import os\nprint('[\"good\", \"no\"]')\nos.write(1, b'noise\\n')",
    "raises": "raise ValueError('no\\nsuch thing')",
    "leaves": "import sys\nsys.exit(3)",
    "ends": "import os\nos._exit(7)",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGILL)",
    "hangs": "import time\ntime.sleep(600)",
}
REASONS = {"good": None, "loud": None, "raises": "ValueError: no such thing", "leaves": "SystemExit: 3",
           "ends": "ends the process with status 7", "killed": "SIGILL", "absent": "ModuleNotFoundError"}  # fmt: skip


@pytest.fixture
def modules(tmp_path, monkeypatch):
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("order", [list(REASONS), list(REASONS)[::-1]])
def test_every_module_has_its_own_answer_whatever_its_neighbours_do(modules, order):
    found = import_errors(order)
    assert list(found) and found.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert found[name] is None if reason is None else reason in found[name]
    assert not {*MODULES} & {*sys.modules}


@pytest.mark.slow
def test_a_module_that_hangs_is_left_behind(modules):
    found = import_errors(["hangs", "good"], seconds=10)
    assert found == {"hangs": "importing it did not end within 10 seconds", "good": None}


def test_a_module_of_the_working_directory_hides_none(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    assert import_errors(["json"]) == {"json": None}


# What the machine gives.


def group(root, lines, files):
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


GIB = 2**30
GROUPS = [
    ("0::/\n", {"cpu.max": "50000 100000\n", "memory.max": f"{GIB}\n"}),
    ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n", "a/memory.max": f"{GIB}\n"}),
    ("0::/a\n", {"a/cpu.max": "max 100000\n", "cpu.max": "50000 100000\n", "memory.max": f"{GIB}\n"}),
    ("5:cpu,cpuacct:/c\n4:memory:/c\n", {"cpu,cpuacct/c/cpu.cfs_quota_us": "50000\n",
     "cpu,cpuacct/c/cpu.cfs_period_us": "100000\n", "memory/c/memory.limit_in_bytes": f"{GIB}\n"}),
    ("5:cpu,cpuacct:/c\n4:memory:/c\n", {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
     "cpu,cpuacct/cpu.cfs_period_us": "100000\n", "memory/memory.limit_in_bytes": f"{GIB}\n"}),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "files"), GROUPS)
def test_the_limits_of_a_control_group_count_wherever_they_are_set(tmp_path, lines, files):
    root = group(tmp_path, lines, files)
    assert usable_processors(root) == 0.5
    assert usable_memory(root)[0] == GIB >= usable_memory(root)[1]


@pytest.mark.parametrize(("lines", "files"), [
    ("", {}), ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}),
    ("5:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
])  # fmt: skip
def test_no_limit_is_none(tmp_path, lines, files):
    root = group(tmp_path, lines, files)
    assert usable_processors(root) >= 1
    assert usable_memory(root)[0] > GIB / 4


USED = [  # the groups, and what they call the limit, what is used, what can be dropped, and what says less of it
    ("0::/a/b\n", "a/memory.", ("max", "current"), "inactive_file {}\ntotal_inactive_file 3\n"),
    ("0::/\n", "memory.", ("max", "current"), "inactive_file 0\nactive_file {}\n"),
    ("4:memory:/c/d\n", "memory/c/memory.", ("limit_in_bytes", "usage_in_bytes"),
     "inactive_file 3\ntotal_inactive_file {}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "place", "names", "stat"), USED)
@settings(max_examples=20)
@given(used=st.integers(0, 2**20), kept=st.integers(0, 2**20))
def test_free_is_what_a_group_has_left(tmp_path_factory, lines, place, names, stat, used, kept):
    limit = 2**19  # which every machine has free; for a moment more may be used
    texts = dict(zip((*names, "stat"), (f"{limit}\n", f"{used}\n", "anon 7\n" + stat.format(kept)), strict=True))
    root = group(tmp_path_factory.mktemp("group"), lines, {place + name: text for name, text in texts.items()})
    assert usable_memory(root) == (limit, max(0, limit - max(0, used - kept)))


@pytest.mark.parametrize(("available", "status"), [(64 * GIB, "ok"), (GIB, "degraded")])
def test_little_memory_is_degraded(monkeypatch, available, status):
    monkeypatch.setattr(storage, "usable_memory", lambda: (64 * GIB, available))
    assert statuses(storage.check_memory()) == {"memory": status}


def test_a_cache_that_cannot_be_written_is_degraded(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        monkeypatch.setenv("SIPIT_CACHE", str(place))
        (line,) = storage.check_cache()
        assert (line.status, "SIPIT_CACHE" in line.remedy) == (Verdict.DEGRADED, True)
        assert str(place) in line.detail


def test_what_the_cache_holds_is_counted(empty_cache):
    (empty_cache / "models").mkdir(parents=True)
    (empty_cache / "models" / "m").write_bytes(b"x" * 2**24)
    (line,) = storage.check_cache()
    assert line.status is Verdict.OK and "0.02 GiB are kept" in line.detail
    assert [path.name for path in empty_cache.iterdir()] == ["models"]


@pytest.mark.parametrize(("threads", "usable", "capability", "kind", "status"), [
    (2, 2, "AVX2", "x86_64", "ok"), (4, 2, "AVX2", "x86_64", "degraded"), (1, 0.5, "AVX512", "AMD64", "ok"),
    (2, 2, "DEFAULT", "x86_64", "degraded"), (2, 2, "DEFAULT", "aarch64", "ok"),
])  # fmt: skip
def test_the_processor(monkeypatch, threads, usable, capability, kind, status):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(processor, "usable_processors", lambda: usable)
    monkeypatch.setattr(processor.platform, "machine", lambda: kind)
    monkeypatch.setattr(processor, "_work_while_waiting", lambda: 0.0)
    line, _ = processor.check_processor()
    assert line.status.value == status
    assert status == "ok" or line.remedy


# Devices.


def test_the_cpu_is_a_device_that_is_right():
    found = [devices.examine_device(name) for name in devices.present_devices()]
    assert found[0]["device"] == "cpu" and found[0]["usable"] and 0 < found[0]["error"] < 1e-5
    assert statuses(devices.check_devices(found))["cpu"] == "ok"


def test_a_device_that_is_wrong_or_raises_is_broken(monkeypatch):
    def failing(name):
        raise RuntimeError("CUDA error: no kernel image is available")

    for product in (failing, lambda name: 0.5, lambda name: float("nan")):
        monkeypatch.setattr(devices, "_error_of_product", product)
        line = next(devices.check_devices([devices.examine_device("cpu")]))
        assert (line.name, line.status) == ("cpu", Verdict.BROKEN)
        assert line.detail and line.remedy


def test_a_driver_that_torch_cannot_use_is_degraded(monkeypatch, tmp_path):
    driver = tmp_path / "version"
    monkeypatch.setattr(devices, "_DRIVER", driver)
    cpu = {"device": "cpu", "usable": True, "error": 1e-7, "reason": None, "memory_gib": None}
    assert statuses(devices.check_devices([cpu])) == {"cpu": "ok"}
    driver.write_text("550")
    assert statuses(devices.check_devices([cpu])) == {"cpu": "ok", "cuda": "degraded"}
    other = cpu | {"device": "cuda:0", "description": "A GPU", "memory_gib": 80.0}
    assert statuses(devices.check_devices([cpu, other])) == {"cpu": "ok", "cuda:0": "ok"}
