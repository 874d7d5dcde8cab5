"""Files that are read whole: never without end, whatever a name leads to, and pipes as ever."""

import os
import threading

import pytest

from numerics.networks.configuration import read_config
from proofs.errors import InvalidInput
from proofs.evidence import read_json
from proofs.files import whole_file
from proofs.network.tensor_file import read_header
from sipit.models.files import read_object
from sipit.prompts.reading import read_prompts
from sipit.states.readers.containers import read_container
from sipit.states.readers.reading import is_json
from sipit.states.readers.sglang import read_sglang

# Who reads a file whole, the ending that it asks for, and the name of its limit.
READERS = {
    "a record": (read_json, ".json", "proofs.evidence.LARGEST_RECORD"),
    "prompts": (read_prompts, ".txt", "sipit.prompts.reading.LARGEST_FILE"),
    "prompts in JSON": (read_prompts, ".jsonl", "sipit.prompts.reading.LARGEST_FILE"),
    "a configuration": (read_object, ".json", "sipit.models.files._LARGEST_JSON"),
    "a configuration alone": (read_config, ".json", "numerics.networks.configuration.LARGEST_BYTES"),
    "an answer": (read_sglang, ".json", "sipit.states.readers.sglang._LARGEST"),
}


def piped(path, content):
    """A named pipe into which somebody writes; who reads no further ends it."""

    def write():
        try:
            with path.open("wb") as stream:
                while content:
                    stream.write(content)
                    if len(content) < 1000:
                        break
        except BrokenPipeError:
            pass

    os.mkfifo(path)
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    return writer


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/null", "/dev/full"])
@pytest.mark.parametrize("kind", READERS)
def test_a_link_to_a_device_is_refused_and_not_read(tmp_path, kind, device):
    read, ending, _ = READERS[kind]
    path = tmp_path / f"x{ending}"
    path.symlink_to(device)
    with pytest.raises(InvalidInput, match="x.json" if ending == ".json" else "it is a device"):
        read(path)
    with pytest.raises(OSError, match="it is a device"):
        whole_file(path, most=10)


@pytest.mark.parametrize("kind", READERS)
def test_what_is_larger_than_meant_is_refused(tmp_path, monkeypatch, kind):
    read, ending, limit = READERS[kind]
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"[" + 100 * b" " + b"]")
    monkeypatch.setattr(limit, 50)
    with pytest.raises(InvalidInput, match=r"at most 50 bytes|cannot be read as JSON"):
        read(path)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 100])
def test_a_file_is_read_whole_or_not_at_all(tmp_path, size):
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    assert whole_file(path, most=10) == (bytes(size) if size <= 10 else None)


def test_pipes_are_read_and_those_without_end_are_not(tmp_path):
    writer = piped(tmp_path / "short.txt", b"a\nb\n")
    assert read_prompts(tmp_path / "short.txt") == ["a", "b"]
    writer.join()
    piped(tmp_path / "endless", bytes(1000))
    assert whole_file(tmp_path / "endless", most=10**6) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", [read_container, read_header], ids=["states", "weights"])
def test_a_pipe_is_refused_and_not_waited_for_where_a_file_is_read_again(tmp_path, read):
    """Nobody may ever write into it; a link to a device is none either, and says why."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link"):
        with pytest.raises(InvalidInput, match=rf"{name} is not: it is no file on a disk, .*; check the path\."):
            read(tmp_path / name)
    assert not is_json(tmp_path / "pipe")
