"""No field of a record can be changed unnoticed: for every command that writes a certificate."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sipit
from numerics.graphs.variants import Variant
from proofs.kernel.result import digest, same
from sipit.claims.certify import certify
from sipit.claims.fields import COMMANDS
from sipit.claims.prove import prove_generic_position, prove_training_step, prove_witness
from sipit.cli import run
from tests.proofs.mutating import placed
from tests.sipit.cases import checked, rest_slow, with_rows
from tests.sipit.record_edits import Honest, covering, leaves, objects

PROMPTS = [[1, 2], [3, 2], [1, 4], [1, 2]]


def of_certify(**options: Any) -> Any:
    return certify(sipit.load_model("tiny-gpt2"), layer=1, budget=False, **options)


MAKERS = {
    "check": lambda: checked("tiny-gpt2"),
    "check, collisions": lambda: checked("tiny-llama"),
    "check, witness": lambda: checked("tiny-opt"),
    "certify": lambda: of_certify(prompts=PROMPTS),
    "certify, vocabulary": lambda: of_certify(prompts=[[7, 300]], vocabulary=12),
    "prove witness": lambda: prove_witness(vocabulary=2, context=2),
    "prove training-step": lambda: prove_training_step(
        model="tiny-gpt2", width=1, rate="1/10", optimizer="gd", seed=0
    ),
    "prove generic-position": lambda: prove_generic_position(
        context=2, bos=False, model=None, variant=Variant("rope", "layernorm", "gelu-tanh", True, 1, 4, False),
        tied=False, seed=0,
    ),
}  # fmt: skip


@cache
def text_of(name: str) -> str:
    return MAKERS[name]().dumps()


SLOW = ("check, witness", "certify, vocabulary", "prove witness")


@pytest.fixture(scope="module", params=rest_slow(*(set(MAKERS) - set(SLOW)), of=MAKERS))
def honest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Honest:
    return Honest(tmp_path_factory.mktemp("edits"), text_of(request.param))


def test_every_command_that_writes_a_certificate_is_tried() -> None:
    assert {name.split(",")[0] for name in MAKERS} == set(COMMANDS)


def test_every_leaf_is_in_exactly_one_of_both_lists(honest: Honest) -> None:
    result = honest.outcome.result
    assert result["claim"]
    assert sorted([*result["derived"], *result["not_vouched_for"]]) == sorted(path for path, _ in leaves(honest.data))
    for path in ("command", "schema", "result.certificate.claim.statement"):
        assert covering(result, path) == (1, 0)
    for path in ("seconds", "provenance.model"):
        assert covering(result, path) == (0, 1)


def test_an_edit_is_noticed_or_made_where_nothing_is_vouched_for(honest: Honest) -> None:
    found = Counter(honest.assert_noticed(seed) for seed in range(40))
    assert found["rejected"] > 5


def test_an_unknown_entry_is_noticed_in_every_kind_of_object(honest: Honest) -> None:
    seen = set[str]()
    for path in objects(honest.data):
        kind = ".".join("*" if step.isdigit() else step for step in path)
        if kind in seen:
            continue
        seen.add(kind)
        data = copy.deepcopy(honest.data)
        place: Any = data
        for step in path:
            place = place[int(step) if isinstance(place, list) else step]
        place["unheard-of"] = 1
        honest.assert_this_is_noticed(data, kind)


def test_labels_of_networks_for_other_lengths_cannot_be_changed_unnoticed(tmp_path: Path) -> None:
    data = json.loads(text_of("check"))
    other = data["result"]["certificate"]["other_lengths"]["2"]
    tokens = next(row for row in other["nodes"] if row[0] == "tokens")
    honest = Honest(tmp_path, json.dumps(data))

    def placed_elsewhere() -> None:
        other["nodes"][22][4] = 1 - min(1, other["nodes"][22][4])

    edits: list[Callable[[], object]] = [
        placed_elsewhere, lambda: other["nodes"].append(tokens),
        lambda: other["places"][0].__setitem__(0, "certified"), lambda: other["idealisations"].append("none"),
    ]  # fmt: skip
    for edit in edits:
        before = json.dumps(other)
        edit()
        assert honest.verified(data).verdict == "rejected"
        other.clear()
        other.update(json.loads(before))
    assert honest.verified(data).verdict in ("accepted", "accepted_sampled")


@pytest.mark.slow
def test_six_hundred_edits_are_noticed(honest: Honest) -> None:
    found = Counter(honest.assert_noticed(seed) for seed in range(1000, 1600))
    assert min(found["rejected"], found["not vouched for"]) > 60, found


FORGERIES: dict[str, Any] = {
    "check": [(("command",), "check "), (("verdict",), "undecided"), (("result", "layer"), 126),
              (("result", "regularity"), "constant"), (("result", "obstructions"), [{}])],
    "prove generic-position": [(("verdict",), "proved"), (("result", "certified"), 15), (("result", "collisions"), []),
                               (("result", "scope", "context"), "every context"), (("result", "bos"), 0)],
    "prove training-step": [(("result", "parameters"), 10**6), (("result", "rate"), "1"), (("verdict",), "undecided")],
    "prove witness": [(("result", "zero_repaired"), False), (("result", "pairs"), 31), (("result", "examples"), [])],
    "certify": [(("verdict",), "separated"), (("result", "uncertified"), []), (("provenance", "weights"), "0" * 64)],
}  # fmt: skip


def test_what_a_record_adds_to_its_certificate_is_rejected(honest: Honest) -> None:
    for path, value in FORGERIES[honest.data["command"]]:
        data = placed(honest.data, path, value)
        assert same(data, honest.data) or honest.verified(data).verdict == "rejected", (path, value)


def test_a_label_that_is_made_to_fit_everywhere_is_still_not_vouched_for(tmp_path: Path) -> None:
    """Two blocks called 126, of another architecture: the sentence says whose word that is."""
    data = json.loads(text_of("check"))
    certificate = data["result"]["certificate"]
    data["result"]["layer"] = certificate["graph"]["layer"] = 126
    for other in certificate["other_lengths"].values():
        other["layer"] = 126
    data["result"]["graph"] = certificate["graph"]["about"] = {"architecture": "Another", "layers": 126}
    certificate["claim"]["graph"] = digest(certificate["graph"])
    certificate["claim"]["other_lengths"] = digest(certificate["other_lengths"])
    certificate["claim"]["statement"] = certificate["claim"]["statement"].replace("calls 2 blocks", "calls 126 blocks")
    honest = Honest(tmp_path, json.dumps(data))
    assert "what the graph calls 126 blocks" in honest.outcome.result["claim"]
    for path in ("layer", "graph.architecture", "certificate.graph.layer", "certificate.graph.about.architecture"):
        assert covering(honest.outcome.result, f"result.{path}") == (0, 1)


def test_a_verdict_that_rests_on_rows_alone_is_not_vouched_for_but_must_fit(tmp_path: Path) -> None:
    data = json.loads(text_of("check"))
    assert data["verdict"] == "proved"
    data["result"]["duplicate_embeddings"]["groups"] = [[1, 2]]
    honest = Honest(tmp_path, json.dumps({**data, "verdict": "refuted"}))
    assert covering(honest.outcome.result, "verdict") == (0, 1)
    assert honest.verified(data).verdict == "rejected"
    config_alone = {**data, "result": {**data["result"], "duplicate_embeddings": None}}
    assert covering(honest.verified(config_alone).result, "verdict") == (1, 0)


def test_why_a_pair_is_open_follows(tmp_path: Path) -> None:
    model = with_rows("gpt2", [(100, 50)], relative=2e-7)  # too near for 48 bits
    record = certify(model, [[5, 100], [5, 50], [7, 4]], layer=2, budget=False, bits=48)
    assert record.result["uncertified"] == [{"first": 0, "second": 1, "reason": "enclosures meet"}]
    honest = Honest(tmp_path, record.dumps())
    assert covering(honest.outcome.result, "result.uncertified.0.reason") == (1, 0)
    entry = ("result", "uncertified", 0)
    assert honest.verified(placed(honest.data, (*entry, "reason"), "equal")).verdict == "rejected"
    told = placed(honest.data, entry, {"first": 0, "second": 1, "reason": "equal", "family": "a family"})
    assert honest.verified(told).verdict == "rejected"


def test_a_bound_says_how_its_network_differs_from_the_code(tmp_path: Path) -> None:
    """Records had no such list at first; one without it says no less of what was derived."""
    honest = Honest(tmp_path, text_of("certify"))
    graphs = honest.data["result"]["certificate"]["graphs"]
    said = honest.data["result"]["idealisations"]
    assert said == list(dict.fromkeys(line for graph in graphs for line in graph["idealisations"])) != []
    assert covering(honest.outcome.result, "result.idealisations.0") == (0, 1)
    without = json.loads(json.dumps(honest.data))
    del without["result"]["idealisations"]
    assert honest.verified(without).verdict == honest.outcome.verdict
    assert honest.verified(placed(honest.data, ("result", "idealisations"), [])).verdict == "rejected"


def test_collisions_that_are_struck_out_everywhere_are_missed(tmp_path: Path) -> None:
    data = json.loads(text_of("check, collisions"))
    honest = Honest(tmp_path, json.dumps(data))
    data["verdict"], data["result"]["structural_collisions"] = "proved", []
    data["result"]["certificate"].pop("structural_collisions")
    outcome = honest.verified(data)
    assert (outcome.verdict, "no structural collisions" in outcome.result["reason"]) == ("rejected", True)


def test_accepted_is_never_said_without_the_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    file.write_text(text_of("check"))
    assert run(["verify", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("accepted: For every prompt of 11 tokens the map from the parameters")
    assert "not vouched for: verdict, provenance, seconds, result.idealisations" in said
    page = tmp_path / "page.md"
    assert run(["verify", str(file), "-o", str(page)]) == 0
    assert "is analytic on the whole parameter space" in page.read_text().split("\n## ")[0]
    assert "| provenance |" in page.read_text()
    file.write_text(text_of("check").replace('"check"', '"check "'))
    assert run(["verify", str(file)]) == 1
    assert "rejected: no command 'check ' writes a certificate of kind regularity" in capsys.readouterr().out


def test_a_sample_gives_status_three_and_names_its_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    file.write_text(text_of("certify"))
    assert run(["verify", str(file), "--steps", "1", "--seed", "5", "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "accepted_sampled"
    assert record["result"]["sampled"] == {"drawn": 1, "among": 4, "seed": 5, "claim_rests_on_it": True}
    assert covering(record["result"], "result.certificate.prompts.0.enclosures.0.mantissa") == (0, 1)
    assert run(["verify", str(file), "--steps", "4", "--limit", "2"]) == 0
    for option in (["--limit", "0"], ["--limit", "nan"], ["--steps", "0"]):
        assert run(["verify", str(file), *option]) == 2


@pytest.mark.parametrize("path", [("schema",), ("result", "certificate", "schema")])
def test_what_an_earlier_version_wrote_is_to_be_made_again(
    path: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(placed(json.loads(text_of("check")), path, "sipit/1")))
    for command in ("verify", "report") if path == ("schema",) else ("verify",):
        assert run([command, str(file)]) == 2
        assert "make it again" in capsys.readouterr().err
