"""`sipit prove` end to end: records, exit codes, verification, and what is refused."""

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from proofs import check
from proofs.evidence import read_record
from proofs.kernel.generic_position import Longer
from proofs.kernel.value_numbering.number import Numbering
from proofs.theorems.generic_position import examine
from sipit.claims.prove import prove_witness
from sipit.claims.verify import verify_record
from sipit.cli import run
from sipit.report import render
from tests.proofs.decoders import network


def record_of(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], Path]:
    path = folder / "record.json"
    status = run(["prove", *arguments, "--json", "-o", str(path)])
    return status, json.loads(path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_the_witness_command(tmp_path: Path) -> None:
    status, record, path = record_of(tmp_path, "witness", "--vocabulary", "2", "--context", "2")
    result = record["result"]
    assert (status, record["verdict"], record["command"]) == (0, "proved", "prove witness")
    assert (result["pairs"], result["zero_as_printed"], result["zero_repaired"]) == (30, 2, 0)
    assert {entry["hypothesis"]: entry["checked"] for entry in result["hypotheses"]}[
        "the network is a GPT-2 of one block, with one head"
    ] is False  # that its parameters are called so is all that is seen
    assert verify_record(path).verdict == "accepted"


@pytest.mark.parametrize(
    ("vocabulary", "context", "covered"), [(3, 1, False), (1, 3, False), (2, 2, True)], ids=["single", "runs", "both"]
)
def test_the_repair_is_named_where_prompts_end_alike_and_differ_before(vocabulary, context, covered) -> None:
    named = [entry["claim"] for entry in prove_witness(vocabulary=vocabulary, context=context).result["theorems"]]
    assert ("repaired witness" in named) is covered


@pytest.mark.slow
def test_the_training_step_command(tmp_path: Path) -> None:
    status, record, path = record_of(tmp_path, "training-step", "--rate", "1/10")
    result = record["result"]
    assert (status, record["verdict"], result["rate"]) == (0, "proved", "1/10")
    assert result["parameters"] >= 150
    assert set(result["determinant"]) == {"midpoint", "radius"}
    assert verify_record(path).verdict == "accepted"


@pytest.mark.slow
def test_the_generic_position_command(tmp_path: Path) -> None:
    status, record, path = record_of(tmp_path, "generic-position", "--positions", "rope", "--context", "2")
    result = record["result"]
    assert (status, record["verdict"]) == (1, "refuted")
    assert (result["classes"], result["certified"], result["collisions_proved"], result["undecided"]) == (15, 14, 1, 0)
    assert result["collisions"] == [{"first": [1], "second": [1, 1], "family": "repeated tokens"}]
    assert result["against_classification"]["disagree"] == 0
    assert result["certificate"]["claim"]["every_depth"] is True
    assert verify_record(path).verdict == "accepted"
    altered = copy.deepcopy(record)
    altered["result"]["certificate"]["claim"]["collisions_proved"] = 0
    path.write_text(json.dumps(altered), encoding="utf-8")
    assert verify_record(path).verdict == "rejected"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "tiny-llama"], (191, 3, 0)), (["--model", "tiny-llama", "--bos"], (194, 0, 0)),
        (["--model", "tiny-gpt2"], (194, 0, 0)), (["--positions", "none"], (189, 5, 0)),
        (["--positions", "t5", "--norm", "rmsnorm", "--activation", "gelu"], (191, 3, 0)),
        (["--positions", "learned", "--activation", "relu"], (194, 0, 0)),
        (["--positions", "learned", "--norm", "none", "--activation", "silu", "--tied"], (194, 0, 0)),
        (["--positions", "rope", "--activation", "tanh", "--post-norm"], (191, 3, 0)),
        (["--model", "tiny-opt"], (194, 0, 0)), (["--model", "tiny-mixtral"], (191, 3, 0)),
    ],
    ids=str,
)  # fmt: skip
def test_three_tokens(options: list[str], expected: tuple[int, int, int], tmp_path: Path) -> None:
    _, record, path = record_of(tmp_path, "generic-position", *options, "--context", "3")
    result = record["result"]
    assert (result["certified"], result["collisions_proved"], result["undecided"]) == expected
    assert verify_record(path).verdict == "accepted"
    if options == ["--model", "tiny-llama"]:
        for name, distance in (("rounding", "distance"), ("rounding_of_runs", "largest")):
            rounded = {(row["dtype"], row["attention"]): 0.0 for row in result[name]}
            for row in result[name]:
                kind = row["dtype"], row["attention"]
                rounded[kind] = max(rounded[kind], row[distance])
            assert 1e-6 < rounded["float32", "sdpa"] < 1e-4  # where the exact distance is 0
            assert rounded["float64", "sdpa"] < 1e-12
        assert rounded["bfloat16", "eager"] > 1e-3
        page = render([read_record(path)], format="html")
        assert "Rounding hides exact collisions" in page and "a a" in page
    if "--bos" in options:
        assert result["longest_prompt"] == {"tokens": 4, "of_them_bos": 1}
    growth = {"--post-norm": "this depth"}
    for option, text in growth.items():
        assert (text in result["scope"]["depth"]) is (option in options)
    assert result["scope"]["width"].startswith("the states k times as wide")


def documented_commands() -> list[str]:
    pages = sorted((Path(__file__).parents[2] / "docs").glob("t*.md"))
    found = [command for page in pages for command in re.findall(r"`sipit ([^`]+)`", page.read_text("utf-8"))]
    return [command for command in dict.fromkeys(found) if "…" not in command and "MODEL" not in command]


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_are_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*shlex.split(command), "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["generic-position"], "either --model or --positions"),
        (["generic-position", "--model", "tiny-llama", "--norm", "none", "--depth", "3"], "beside --norm, --depth"),
        (["generic-position", "--model", "tiny-llama", "--no-residual"], "beside --no-residual"),
        (["generic-position", "--model", "llama"], "tiny-<family>"),
        (["generic-position", "--positions", "rope", "--context", "9"], "context"),
        (["generic-position", "--positions", "rope", "--width", "5"], "width"),
        (["generic-position", "--positions", "sinusoidal"], "positions"),
        (["training-step", "--rate", "a tenth"], "rational"),
        (["training-step", "--rate", "-1/10"], "positive"),
        (["training-step", "--optimizer", "lion"], "optimizer"),
        (["witness", "--vocabulary", "0"], "at least one"),
        (["witness", "-o", "record.txt"], "ending"),
    ],
    ids=str,
)
def test_misuse_is_told_in_one_sentence(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", *arguments]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert "Traceback" not in message


@pytest.mark.parametrize(("positions", "told"), [("rope", "1 of 5 undecided"), ("learned", "all differ")])
def test_patterns_that_there_is_no_room_to_tell_equal_are_undecided_or_differ(
    positions: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No misuse, but undecided: what differs is shown at points all the same."""
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    path = tmp_path / "record.json"
    arguments = ["prove", "generic-position", "--positions", positions, "--context", "2", "-o", str(path)]
    assert run(arguments) == (3 if positions == "rope" else 0)
    assert "not all collisions were looked for: the values of the network" in capsys.readouterr().out
    record = json.loads(path.read_text(encoding="utf-8"))
    result = record["result"]
    assert record["verdict"] == ("undecided" if positions == "rope" else "proved"), told
    assert (result["certified"], result["undecided"]) == ((14, 1) if positions == "rope" else (15, 0))
    assert result["open"] == ([[[1], [1, 1]]] if positions == "rope" else [])
    assert "more than 4194304 entries" in result["collisions_undecided"]
    verified = verify_record(path)
    assert verified.verdict == "accepted"
    assert "result.collisions_undecided" in verified.result["not_vouched_for"]
    assert "why not all collisions were looked for" in render([read_record(path)], format="md")
    record["verdict"], record["result"]["undecided"] = "proved", 0
    path.write_text(json.dumps(record), encoding="utf-8")
    assert verify_record(path).verdict == ("rejected" if positions == "rope" else "accepted")


def test_a_pair_of_longer_prompts_that_there_is_no_room_for_is_left_away(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = {length: network(length, depth=2) for length in (1, 2)}
    longer = Longer(((tuple([1, 2] * 2), tuple([1, 2] * 3)),), {n: network(n, depth=2) for n in (4, 6)})
    numbering = Numbering(networks.values())
    for length, graph in networks.items():
        numbering.last_state(graph, (1,) * length)
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 2 * numbering.table._entries)
    found = examine(networks, context=1, longer=longer)
    assert (found.untold, found.longer, found.claim["undecided"]) == (True, None, 0)
    assert check(found).verdict == "accepted"
