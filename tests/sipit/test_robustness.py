"""Around the commands: no torch, odd locales and terminals, closed pipes, full disks and SIGKILL."""

import errno
import fcntl
import json
import os
import pty
import re
import resource
import shlex
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from proofs.errors import InvalidInput
from proofs.evidence import write_atomically
from sipit.cli import app, run
from sipit.cli.output import check_output
from tests.sipit.cases import COMMANDS

ROOT = Path(__file__).parents[2]
TORCH = ("torch", "functorch", "transformers", "accelerate", "bitsandbytes", "tokenizers", "safetensors")


def sipit(*arguments, python=(sys.executable,), **options):
    """A command run as a program of its own."""
    code = f"import sys; sys.argv[1:] = {[str(one) for one in arguments]!r}; from sipit.cli import main; main()"
    options = {"capture_output": True, "timeout": 600, "cwd": ROOT} | options
    return subprocess.run([*python, "-c", code], **options)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A record with a certificate, and one whose certificate was altered; names and text beyond ASCII."""
    folder = tmp_path_factory.mktemp("records")
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 32, "n_positions": 16}
    (folder / "config.json").write_text(json.dumps(config))
    good, bad = folder / "größe 漢.json", folder / "bad.json"
    assert run(["check", str(folder / "config.json"), "-o", str(good)]) == 0
    data = json.loads(good.read_text(encoding="utf-8"))
    data["result"]["certificate"]["claim"]["regularity"] = "polynomial"
    bad.write_text(json.dumps(data))
    return good, bad


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory):
    """A Python that has every package but those: they are nowhere on its path, nor on that of its children."""
    folder = tmp_path_factory.mktemp("packages")
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            kept = not entry.name.lower().startswith((*TORCH, "sipit", "_")) and entry.suffix != ".pth"
            if (kept or entry.name.startswith("_cffi")) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    for name in ("proofs", "sipit"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "sitecustomize.py").write_text("")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "HOME": str(folder)}
    return {"python": (sys.executable, "-S"), "env": environment, "cwd": folder}


def test_the_checker_runs_where_torch_cannot_be_imported(without_torch, records):
    python, named = without_torch["python"], {name: without_torch[name] for name in ("env", "cwd")}
    code = f"import importlib.util as u; print(*[name for name in {TORCH!r} if u.find_spec(name)])"
    absent = subprocess.run([*python, "-c", code], capture_output=True, check=True, **named)
    assert absent.stdout.strip() == b""
    for record, status in zip(records, (0, 1), strict=True):
        done = sipit("verify", record, "--json", **without_torch)
        assert done.returncode == status, done.stderr
        assert json.loads(done.stdout)["verdict"] == ("rejected" if status else "accepted")
        assert done.stderr == b""
    code = f"import json, proofs; r = json.load(open({str(records[0])!r}, encoding='utf-8'))['result']; " \
           "print(proofs.check(r['certificate']).verdict)"  # fmt: skip
    done = subprocess.run([*python, "-c", code], capture_output=True, check=True, **named)
    assert done.stdout.split()[-1].endswith(b"accepted")


LOCALES = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": "POSIX"},
    "none": {},
    "ASCII files and streams": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "a locale that is missing": {"LC_ALL": "xx_XX.ISO-8859-15"},
    "ASCII streams": {"PYTHONIOENCODING": "ascii"},
    "Latin-1 streams": {"PYTHONIOENCODING": "latin-1"},
}


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "ASCII files and streams" else pytest.param(kind, marks=pytest.mark.slow) for kind in LOCALES],
)
def test_every_locale_gets_an_answer_and_a_record(kind, records):
    plain = {name: value for name, value in os.environ.items() if name not in {"LANG", "LC_ALL", "LC_CTYPE"}}
    command = [sys.executable, "-c", "from sipit.cli import main; main()"]
    for more in ([], ["--json"]):
        done = subprocess.run(
            [*command, "verify", os.fsencode(records[0]), *more],
            capture_output=True,
            cwd=ROOT,
            env=plain | LOCALES[kind],
        )
        assert (done.returncode, done.stderr) == (0, b"")
        if more:
            data = json.loads(done.stdout.decode(LOCALES[kind].get("PYTHONIOENCODING", "utf-8")))
            assert data["result"]["claim"] is not None
    helped = subprocess.run([*command, "invert", "--help"], capture_output=True, cwd=ROOT, env=plain | LOCALES[kind])
    assert helped.returncode == 0 and b"Example: sipit invert" in helped.stdout


def test_a_record_can_be_printed_in_any_encoding():
    from proofs.evidence import Record
    from proofs.verdict import Verdict

    record = Record("verify", Verdict.ACCEPTED, {"file": "größe 漢 \udcff"})
    for encoding in ("utf-8", "ascii", "latin-1"):
        assert json.loads(record.dumps(encoding).encode(encoding).decode(encoding))["result"] == record.result


def on_terminal(columns, *arguments, **environment):
    """What a command writes to a terminal of so many columns, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    code = f"import sys; sys.argv[1:] = {list(arguments)!r}; from sipit.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
        env=known | {"TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side has closed it
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(), written.decode()


def lines_of(text):
    """The lines on a terminal, without what moves the cursor or styles."""
    return [
        line.split("\r")[-1] for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").split("\n")
    ]


@pytest.mark.parametrize("columns", [60, 200])
def test_help_fits_the_terminal(columns):
    status, text = on_terminal(columns, "collide", "--help")
    assert status == 0
    assert max(map(len, lines_of(text))) <= columns
    assert "--threshold" in text


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 200])
def test_progress_fits_the_terminal_and_goes_away_and_no_answer_is_broken_into_lines(columns):
    status, text = on_terminal(columns, "invert", "tiny-gpt2", "--text", "Hello", "--layer", "1", NO_COLOR="1")
    assert status == 0
    progress = [line for line in lines_of(text) if "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in line]
    assert progress and max(map(len, progress)) <= columns
    assert any(
        re.fullmatch(r"  5 of 5 tokens · .* · \d+\.\d s", line) for line in lines_of(text)
    )  # what is copied is whole
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)  # NO_COLOR
    assert "'Hello'" in text and "inverting" not in "".join(lines_of(text)[-4:])


@pytest.mark.parametrize("which", [0, 1])
def test_a_reader_who_leaves_does_not_change_the_verdict(records, which):
    reading, writing = os.pipe()
    os.close(reading)
    done = sipit("verify", records[which], capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (which, b"")


@pytest.mark.slow
def test_streams_that_are_closed_or_full(records):
    closed = (
        f"{shlex.quote(sys.executable)} -c 'from sipit.cli import main; main()' verify {shlex.quote(str(records[0]))}"
    )
    for end in (">&-", "2>&-", ">&- 2>&-"):
        assert subprocess.run(f"{closed} {end}", shell=True, cwd=ROOT, capture_output=True).returncode == 0
    if Path("/dev/full").exists():
        done = subprocess.run(f"{closed} > /dev/full", shell=True, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert re.fullmatch(r"sipit: Expected room to write[^\n]*\n", done.stderr)
        assert subprocess.run(f"{closed} 2> /dev/full", shell=True, cwd=ROOT, capture_output=True).returncode == 0


def limited(size):
    """In a child process: no file may become larger, which fails as a full disk does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_leaves_the_old_page(records, tmp_path):
    page = tmp_path / "r.html"
    page.write_text("old")
    # What counts lines would write its own file there, and say so.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = sipit("report", records[0], "-o", page, preexec_fn=limited(2000), text=True, env=unmeasured)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"sipit: Expected a file that can be written[^\n]*\n", done.stderr)
    assert page.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


@given(st.integers(1, 300), st.sampled_from("aä語"), st.sampled_from([".json", ".md", ".html"]))
def test_a_name_is_refused_before_the_work_just_where_it_could_not_be_written_after_it(length, character, ending):
    with TemporaryDirectory() as folder:
        path = Path(folder) / (character * length + ending)
        try:
            check_output(path)
        except InvalidInput as refusal:
            assert str(refusal).startswith("Expected ") and "too long" in str(refusal)
            with pytest.raises((InvalidInput, OSError)):
                write_atomically(path, b"")
        else:
            assert not [*Path(folder).iterdir()], "nothing stays where nothing was written"
            write_atomically(path, b"")
            assert path.is_file()


@pytest.mark.parametrize("name", [f"{'a' * 300}.json", f"{'a' * 248}.json", f"{'a' * 300}/x.json", "none/x.json",
                                  "file/x.json", "/proc/x.json", "folder.json"])  # fmt: skip
def test_an_output_that_cannot_be_is_refused_before_the_work(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "folder.json").mkdir()
    monkeypatch.setattr("sipit.claims.check.check_model", lambda *_, **__: pytest.fail("work was begun"))
    assert run(["check", "tiny-llama", "-o", str(tmp_path / name)]) == 2
    assert re.fullmatch(r"sipit: Expected [^\n]*\n", capsys.readouterr().err)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder.json"}


def test_room_for_states_is_taken_before_they_are_computed(tmp_path):
    from sipit.states.store import arrays_on_disk

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(InvalidInput, match="room for states"):
            arrays_on_disk([tmp_path / "large.npy"], (2**20, 4), [np.float32])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (array,) = arrays_on_disk([tmp_path / "small.npy"], (1000, 4), [np.float32])
    assert array.shape == (1000, 4)
    assert (tmp_path / "small.npy").stat().st_blocks * 512 >= 16000


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / "r.json"
    path.write_bytes(b"old")
    code = (
        "import os, pathlib, signal\nfrom proofs.evidence import write_atomically\n"
        f"os.{moment} = lambda *ignored: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_atomically(pathlib.Path({str(path)!r}), b'new' * 10000)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def without_times(path):
    data = json.loads(path.read_text(encoding="utf-8"))
    data["provenance"] = {k: v for k, v in data["provenance"].items() if k in {"model", "digest", "seed", "dtype"}}
    return json.dumps({**data, "seconds": 0}, sort_keys=True)


KILLED = {
    "collide": (["tiny-gpt2", "--prompts", "random:3", "--limit", "300", "--layers", "1"],
                "sipit.states.store", "write_atomically"),
    "train": (["--steps", "3", "--layers", "1", "--folder", "{folder}"], "sipit.training.trainer", "write_checkpoint"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", KILLED)
def test_a_killed_command_goes_on_to_the_same_record(tmp_path, command):
    arguments, module, writer = KILLED[command]
    found = []
    for name in ("killed", "whole"):
        folder, record = tmp_path / name, tmp_path / f"{name}.json"
        line = [command, *(one.format(folder=folder) for one in arguments), "-o", str(record)]
        named = {"env": os.environ | {"SIPIT_CACHE": str(tmp_path / f"cache-{name}")}}
        if name == "killed":
            code = (
                f"import os, signal, sys, {module} as module\nwrite = module.{writer}\n"
                f"def once(*given, **named):\n    write(*given, **named)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
                f"module.{writer} = once\nsys.argv[1:] = {line!r}\nfrom sipit.cli import main\nmain()"
            )
            killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, **named)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert not record.exists()
        done = sipit(*line, **named)
        assert done.returncode in {0, 1}, done.stderr
        found.append(without_times(record).replace(str(folder), ""))
    assert found[0] == found[1]


@pytest.mark.slow
def test_libraries_say_nothing_while_they_load(tmp_path):
    for line in (["check", "tiny-mixtral", "--layer", "1"], ["capture", "tiny-gpt2", "--text", "a"]):
        out = tmp_path / f"x.{'json' if line[0] == 'check' else 'safetensors'}"
        done = sipit(*line, "-o", out, text=True)
        assert (done.returncode in {0, 1, 3}, done.stderr) == (True, f"written: {out}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_can_be_typed(command, capsys):
    capsys.readouterr()
    assert run([*command.split(), "--help"]) == 0
    (example,) = re.findall(r"Example: (sipit .*?)\n\n", capsys.readouterr().out, flags=re.DOTALL)
    words = shlex.split(" ".join(example.split()))
    assert words[1 : 1 + len(command.split())] == command.split()
    group = typer.main.get_command(app)
    for name in command.split():
        group = group.commands[name]
    with group.make_context(command, words[1 + len(command.split()) :]) as context:
        assert context.params


def test_a_cache_that_cannot_be_written_is_only_slower(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.chdir(tmp_path)
    for line in (["invert", "tiny-gpt2", "--text", "ab", "--policy", "nearest"],
                 ["collide", "tiny-gpt2", "--prompts", "random:2", "--limit", "20", "--layers", "1"]):  # fmt: skip
        capsys.readouterr()
        assert run([*line, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["seconds"] >= 0


def test_an_address_where_nobody_listens_is_refused_at_once():
    from sipit.cluster.states import open_cluster

    began = time.monotonic()
    with pytest.raises(InvalidInput, match="Expected a Ray cluster"), open_cluster("127.0.0.1:1"):
        pass
    assert time.monotonic() - began < 30


def test_a_trained_model_is_written_whole_or_the_old_one_stays(tmp_path):
    from sipit.training.record import write_model
    from tests.sipit.cases import tiny

    model, folder = tiny("gpt2"), tmp_path / "model"
    (folder / "old").mkdir(parents=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, before[1]))
    try:
        with pytest.raises(InvalidInput, match="room for the trained model"):
            write_model(model, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["model", "old"]
    write_model(model, folder)
    assert {entry.name for entry in tmp_path.iterdir()} == {"model"}
    assert (folder / "config.json").is_file() and not (folder / "old").exists()


def test_an_old_model_comes_back_where_the_new_one_gets_no_name(tmp_path, monkeypatch):
    from sipit.training.record import write_model
    from tests.sipit.cases import tiny

    model, folder = tiny("gpt2"), tmp_path / "model"
    (folder / "old").mkdir(parents=True)
    rename = Path.rename

    def full(path, target):
        if Path(target) == folder and (path / "config.json").is_file():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(InvalidInput, match="room for the trained model"):
        write_model(model, folder)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["model", "old"]
