"""The table of benchmarks: a newer run takes the place of an older one, and the page is that of the store."""

import json
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT

STORE = ROOT / "docs" / "benchmarks.json"
TABLE = ROOT / "benchmarks" / "table.py"


def put(store, *runs):
    subprocess.run([sys.executable, TABLE, "--store", store, *runs], check=True)


def run_of(folder, name, seconds):
    found = json.loads(STORE.read_text())[0]
    rows = [{"task": "t", "method": "peer", "seconds": seconds, "answer": "a", "ratio": seconds, "bound": True}]
    path = folder / f"{name}-{seconds}.json"
    path.write_text(json.dumps({**found, "benchmark": name, "rows": rows}))
    return path


def test_the_page_is_the_one_of_the_store(tmp_path):
    store = tmp_path / "benchmarks.json"
    store.write_text(STORE.read_text())
    put(store)
    assert store.with_suffix(".md").read_text() == STORE.with_suffix(".md").read_text()


def test_a_newer_run_takes_the_place_of_an_older_one(tmp_path):
    store = tmp_path / "benchmarks.json"
    put(store, run_of(tmp_path, "one", 1), run_of(tmp_path, "two", 2))
    put(store, run_of(tmp_path, "one", 3))
    page = store.with_suffix(".md").read_text()
    assert "| t | peer | 3 | ≥ 3 | a |" in page
    assert "| t | peer | 2 | ≥ 2 | a |" in page
    assert "| t | peer | 1 | ≥ 1 | a |" not in page


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("separation", ["--width", "100"], "expected a multiple of 64 from 64 on, but got '100'"),
        pytest.param("peers", ["--peers", "exhaustive,friend"], "but got 'friend'", marks=pytest.mark.slow),
        pytest.param("peers", ["--positions", "2"], "whole number from 3 on", marks=pytest.mark.slow),
        pytest.param("limits", ["--lengths", "8,0"], "from 1 on, but got '0'", marks=pytest.mark.slow),
        pytest.param("collisions", ["--rows", "none"], "but got 'none'", marks=pytest.mark.slow),
        pytest.param("side_by_side", ["--rounds", "0"], "from 1 on, but got '0'", marks=pytest.mark.slow),
        pytest.param("observations", ["--stored", "int7"], "but got 'int7'", marks=pytest.mark.slow),
        pytest.param("gpu", ["--parts", "noise,speed"], "but got 'speed'", marks=pytest.mark.slow),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(name, line, said):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *line], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


@pytest.mark.slow
def test_the_trial_of_a_device_goes_through_on_the_processor(tmp_path):
    """Every part of it, on a tiny geometry: what is right there is right, and nothing is said of a device."""
    path = tmp_path / "run.json"
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--device", "cpu", "--small", "-o", path]
    subprocess.run(command, capture_output=True, check=True)
    answers = {
        row["task"]: row["answer"] for row in json.loads(path.read_text())["rows"] if row["method"] != "exhaustive"
    }
    assert {task for task, answer in answers.items() if answer.startswith("not done")} == {"noise in tf32"}
    assert answers["tiny-gpt2, 4 prompts of 16 tokens"].endswith("4 of 4 prompts recovered")
    assert answers["8 tokens in bfloat16, layer 2"].startswith("8 tokens recovered")
    assert answers["1024 states of width 64: all tokens behind 2 others"].endswith("0 of them are equal")


def test_every_run_says_where_and_with_what_it_was_measured():
    for run in json.loads(STORE.read_text()):
        assert run["machine"]["processor"]
        assert {"python", "torch", "sipit"} <= {*run["versions"]}
        assert run["command"].startswith("python benchmarks/")


@pytest.mark.slow
def test_observations_are_counted_and_what_is_known_is_not_measured_again(tmp_path):
    path = tmp_path / "run.json"
    command = [sys.executable, ROOT / "benchmarks" / "observations.py", "--quick", "-o", path, "--stored"]
    for stored, said in (("int8", 4), ("int8,int4", 4), ("int8,int4", 0)):
        done = subprocess.run([*command, stored], capture_output=True, text=True, check=True)
        assert done.stdout.count("exact 2") == said
    rows = json.loads(path.read_text())["rows"]
    assert len({row["task"] for row in rows}) == len(rows) == 8
    assert all("wrong 0" in row["answer"] for row in rows)


@pytest.mark.slow
def test_limits_are_ratios_of_answers_that_are_right(tmp_path):
    path = tmp_path / "run.json"
    command = [sys.executable, ROOT / "benchmarks" / "limits.py", "--quick", "-o", path]
    subprocess.run(command, capture_output=True, check=True)
    rows = json.loads(path.read_text())["rows"]
    ours = {row["task"]: row for row in rows if row["ratio"] is None}
    theirs = {row["task"]: row for row in rows if row["ratio"] is not None}
    assert len(rows) == 2 * len(ours) == 2 * len(theirs) == 16
    for task, row in theirs.items():
        assert row["ratio"] == pytest.approx(row["seconds"] / ours[task]["seconds"], rel=0.5), (
            task
        )  # a median of ratios
    answers = [row["answer"] for row in ours.values()]
    assert sum("8 of 8 prompts" in answer for answer in answers) == 2
    assert sum(answer == "recovered" for answer in answers) == 3
    assert any(answer.startswith("128 recovered") for answer in answers)
    assert any(answer.startswith("20 recovered, 0 wrong") for answer in answers)
