"""`sipit check` and `sipit verify` end to end on small models."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig

import sipit
from numerics.graphs.capture import capture_graph
from numerics.graphs.positions import position_scheme
from proofs import InvalidInput, Unsupported, Verdict
from sipit.claims.check import check_model, config_alone
from sipit.claims.verify import verify_record
from sipit.cli import run
from sipit.models.stored import check_weights
from tests.proofs.mutating import placed
from tests.sipit.cases import ALL_FAMILIES, checked


def stored(folder: Path, text: str) -> Path:
    path = folder / "record.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_kink_is_refuted_with_place_and_witness_and_verified(tmp_path: Path) -> None:
    record = checked("tiny-opt")
    assert (record.verdict, record.result["regularity"]) == (Verdict.REFUTED, "C0")
    first = record.result["obstructions"][0]
    assert (first["operation"], first["module"]) == ("relu", "model.decoder.layers.0.activation_fn")
    assert first["source"].startswith("transformers/models/opt/modeling_opt.py:")
    assert record.result["witness"]["claim"] == "not analytic"
    assert verify_record(stored(tmp_path, record.dumps())).verdict is Verdict.ACCEPTED


def test_positions_of_a_network_of_too_many_values_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2)  # fmt: skip
    graphs = {length: capture_graph(config, length=length) for length in (2, 3)}
    scheme = position_scheme(graphs, config, None, "eager")
    assert (scheme.scheme, scheme.evidence["repeated_tokens_collide"]) == ("undecided", None)


@pytest.fixture
def too_many(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The record of a network whose values take more room than there is, which is no misuse, but undecided."""
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    assert run(["check", "tiny-gpt2", "-o", str(tmp_path / "record.json")]) == 3
    told = capsys.readouterr().out
    assert "  hypotheses of the theorems: undecided\n" in told
    assert "  collisions: undecided: the values of the network are told apart by more than" in told
    return json.loads((tmp_path / "record.json").read_text())


def test_collisions_that_are_too_dear_to_decide_are_undecided_and_the_class_is_proved(
    too_many: dict[str, Any], tmp_path: Path
) -> None:
    result = too_many["result"]
    assert (too_many["verdict"], result["regularity"], result["structural_collisions"]) == ("undecided", "analytic", [])
    assert "more than 4194304 entries" in result["collisions_undecided"]
    verified = verify_record(stored(tmp_path, json.dumps(too_many)))
    assert verified.verdict is Verdict.ACCEPTED
    assert verified.result["claim"].endswith(
        "is analytic on the whole parameter space. Whether prompts collide for every parameter is undecided."
    )
    assert {"result.structural_collisions", "result.regularity"} <= set(verified.result["derived"])
    assert "result.collisions_undecided" in verified.result["not_vouched_for"]
    page = tmp_path / "page.md"
    assert run(["report", str(tmp_path / "record.json"), "-o", str(page)]) == 0
    assert "it is not known whether prompts collide for every parameter value" in page.read_text()
    assert "undecided: analytic, exact collisions undecided" in page.read_text()
    assert "No structural collision family is known" not in page.read_text()


def test_undecided_collisions_prove_nothing_whole_and_are_said_to_be_undecided(
    too_many: dict[str, Any], tmp_path: Path
) -> None:
    family = [{"family": "repeated tokens", "pairs": [[[1, 1], [1, 1, 1]]]}]
    for path, value in [
        (("verdict",), "proved"),
        (("verdict",), "refuted"),
        (("result", "structural_collisions"), family),
        (("result", "collisions_undecided"), None),
        (("result", "collisions_undecided"), "nobody looked"),
        (("result", "certificate", "structural_collisions"), []),
        (("result", "certificate", "structural_collisions"), family),
    ]:
        outcome = verify_record(stored(tmp_path, json.dumps(placed(too_many, path, value))))
        assert outcome.verdict is Verdict.REJECTED, path
    lost = copy.deepcopy(too_many)
    del lost["result"]["collisions_undecided"], lost["result"]["certificate"]["collisions_undecided"]
    outcome = verify_record(stored(tmp_path, json.dumps(lost)))
    assert (outcome.verdict, outcome.result["reason"][:24]) == (Verdict.REJECTED, "collisions are undecided")


def test_collisions_that_are_decided_are_not_called_undecided(tmp_path: Path) -> None:
    data = json.loads(checked("tiny-gpt2").dumps())
    assert data["result"]["collisions_undecided"] is None
    told = placed(data, ("result", "collisions_undecided"), "nobody looked")
    assert verify_record(stored(tmp_path, json.dumps(told))).verdict is Verdict.REJECTED
    del data["result"]["collisions_undecided"]  # as in records that did not have it
    assert verify_record(stored(tmp_path, json.dumps(data))).verdict is Verdict.ACCEPTED


def test_absolute_positions_and_smooth_blocks_are_proved() -> None:
    record = checked("tiny-gpt2")
    assert (record.verdict, record.result["positions"]) == (Verdict.PROVED, "absolute")
    assert record.result["structural_collisions"] == []
    assert record.result["conditions"]["open"] == []
    assert record.result["positions_evidence"]["agrees_with_the_graph"] is True
    law = record.result["law"]
    assert (law["checked"], law["still_constant"]) == (False, [])  # every parameter of a tiny model is drawn
    assert "no density" in law["says"]  # the library's own gains are exactly 1
    assert record.result["classification"]["without_bos"] == "no two prompts"


@pytest.mark.slow
@pytest.mark.edge
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_family_is_judged_and_the_kernel_agrees(family: str, tmp_path: Path) -> None:
    record = check_model(f"tiny-{family}")
    assert record.result["regularity"] == {"opt": "C0", "mixtral": "discontinuous"}.get(family, "analytic")
    holds = record.result["regularity"] == "analytic" and not record.result["structural_collisions"]
    assert record.verdict is (Verdict.PROVED if holds else Verdict.REFUTED)
    families = {entry["family"] for entry in record.result["structural_collisions"]}
    assert families == {one["claim"] for one in record.result["theorems"]} - {"bounds", "classes"}  # each by a theorem
    said = record.result["classification"]["without_bos"]
    assert ("runs of one token" in said) is ("repeated tokens" in families)
    assert verify_record(stored(tmp_path, record.dumps())).verdict is Verdict.ACCEPTED


@pytest.mark.slow
def test_alibi_whose_table_is_longer_than_the_prompt_is_seen(tmp_path: Path) -> None:
    sizes = {"vocab_size": 64, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 64, "expansion_ratio": 2}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "mpt", **sizes}), encoding="utf-8")
    record = check_model(str(path))
    assert record.result["positions"] == "relative"
    assert [c["family"] for c in record.result["structural_collisions"]] == ["repeated tokens"]


@pytest.mark.slow
def test_the_jump_of_a_small_copy_is_not_one_of_a_mixture_that_chooses_all_its_experts(tmp_path: Path) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 4}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "mixtral", **sizes, **heads}), encoding="utf-8")
    record = check_model(str(path))
    assert record.result["regularity"] == "unproved"
    assert "not continuous at some point" not in record.result["certificate"]["claim"]["statement"]
    assert verify_record(stored(tmp_path, record.dumps())).verdict is Verdict.ACCEPTED


def test_a_config_alone_names_the_repeated_token_collisions(tmp_path: Path) -> None:
    config = LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    record = check_model(str(path))
    assert record.verdict is Verdict.REFUTED  # by the collisions alone: the map itself is analytic
    assert (record.result["regularity"], record.result["positions"]) == ("analytic", "relative")
    assert [c["family"] for c in record.result["structural_collisions"]] == ["repeated tokens"]
    assert record.result["duplicate_embeddings"] is None
    assert verify_record(stored(tmp_path, record.dumps())).verdict is Verdict.ACCEPTED
    tampered = copy.deepcopy(record.to_json())
    tampered["result"]["certificate"]["claim"]["regularity"] = "polynomial"
    outcome = verify_record(stored(tmp_path, json.dumps(tampered)))
    assert outcome.verdict is Verdict.REJECTED
    assert "the claim is polynomial, but analytic follows" in outcome.result["reason"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors.index.json", "consolidated.00.pth"])
def test_a_folder_with_weights_that_are_not_read_is_no_config_alone(tmp_path: Path, name: str) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (tmp_path / "generation_config.json").write_text("{}", encoding="utf-8")
    assert config_alone(str(tmp_path))
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(InvalidInput, match=rf"{re.escape(name)}, which is not read; .*config\.json"):
        check_model(str(tmp_path))
    assert config_alone(str(tmp_path / "config.json"))


BESIDE = ["training_args.bin", "optimizer.pt", "optimizer_1.bin", "scheduler.pt", "scaler.pt", "rng_state_0.pth"]


def test_what_a_training_run_keeps_beside_a_model_is_taken_for_no_weights(tmp_path: Path) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    for name in BESIDE:
        (tmp_path / name).write_bytes(b"?")
    assert config_alone(str(tmp_path))
    with pytest.raises(InvalidInput, match="there are no weights"):
        check_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"?")
    with pytest.raises(InvalidInput, match=r"there is pytorch_model\.bin"):
        check_weights(tmp_path)
    with pytest.raises(InvalidInput, match=r"has pytorch_model\.bin"):
        config_alone(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", '{"schema": "other/1"}'])
def test_a_truncated_or_foreign_record_is_misuse(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="Expected"):
        verify_record(stored(tmp_path, text))


def written(folder: Path, config: object) -> str:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return str(path)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 64}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not"),
        ("[1, 2]", "model_type"),
        ('{"model_type": 3}', "model_type"),
        ({"model_type": "t5"}, "decoder-only"),
        ({"model_type": "vit"}, "decoder-only"),
        ({"model_type": "bert", **SMALL}, "is_decoder"),
        ({"model_type": "nobody-knows"}, "no such class"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}, "own code"),
        ({"model_type": "llama", **SMALL, "hidden_size": 10**12}, "hidden_size"),
        ({"model_type": "llama", **SMALL, "num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"model_type": "llama", **SMALL, "intermediate_size": 10**15}, "intermediate_size"),
        ({"model_type": "llama", **SMALL, "num_key_value_heads": 10**9}, "num_key_value_heads"),
        ({"model_type": "mixtral", **SMALL, "num_local_experts": 10**8}, "num_local_experts"),
        ({"model_type": "llama", **SMALL, "hidden_size": "wide"}, "refuses"),
        ({"model_type": "llama", **SMALL, "num_attention_heads": 0}, "."),
        ({"model_type": "llama", **SMALL, "hidden_act": "__import__"}, "nothing by the name '__import__'"),
        ({"model_type": "llama", **SMALL, "torch_dtype": "os"}, "Expected a number format as torch_dtype"),
        ({"model_type": "llama", **SMALL, "quantization_config": [1]}, "Expected an object as quantization_config"),
        ({"model_type": "mistral", **SMALL, "num_attention_heads": 0, "head_dim": 8}, "q_proj"),
        ({"model_type": "qwen3", **SMALL, "intermediate_size": 0}, "correct the size that is 0"),
        ({"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 1, "state_size": 0}, "A_log"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_config_is_one_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: object, reason: str
) -> None:
    assert run(["check", written(tmp_path, config)]) == 2
    assert_one_sentence(capsys, reason)


def assert_one_sentence(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sipit: ")
    assert captured.err.count("\n") == 1
    assert reason in captured.err


def test_an_encoder_class_is_taken_where_its_config_makes_it_a_decoder(tmp_path: Path) -> None:
    record = check_model(written(tmp_path, {"model_type": "bert", **SMALL, "is_decoder": True}))
    assert record.result["causal"] is True
    assert record.result["positions"] == "absolute"


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = written(tmp_path_factory.mktemp("proof"), {"model_type": "llama", **SMALL})
    return json.loads(check_model(config).dumps())


def test_what_is_derived_of_a_proof_is_named(proof: dict[str, Any], tmp_path: Path) -> None:
    result = verify_record(stored(tmp_path, json.dumps(proof))).result
    assert {"verdict", "result.regularity", "result.structural_collisions.0.family"} <= set(result["derived"])
    assert {"result.positions", "result.layer", "provenance.model"} <= set(result["not_vouched_for"])


def test_records_of_checks_say_where_they_come_from(proof: dict[str, Any], tmp_path: Path) -> None:
    of_weights, of_config = checked("tiny-gpt2").provenance, proof["provenance"]
    assert (of_weights["dtype"], of_weights["device"]) == ("float32", "cpu")
    assert (of_config["dtype"], of_config["device"]) == (None, None)
    verified = verify_record(stored(tmp_path, json.dumps(proof))).provenance
    assert set(verified["versions"]) == {"python", "sipit", "python-flint", "numpy"}


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_proof_is_status_2(
    proof: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: float
) -> None:
    text = json.dumps(proof)
    assert run(["verify", str(stored(tmp_path, text[: int(keep * len(text))]))]) == 2
    assert_one_sentence(capsys, "JSON")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("schema",), "sipit/1", "make it again"),
        (("result", "certificate", "schema"), "sipit/1", "make it again"),
        (("schema",), None, "schema"),
        (("result", "certificate"), None, "certificate"),
        (("result", "certificate", "kind"), "regularity/2", "kind"),
        (("result",), [], "result"),
    ],
)
def test_a_proof_of_another_schema_is_status_2(
    proof: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Any, value: Any, reason: str
) -> None:
    assert run(["verify", str(stored(tmp_path, json.dumps(placed(proof, path, value))))]) == 2
    assert_one_sentence(capsys, reason)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("claim", "regularity"), "polynomial", "the claim is polynomial, but analytic follows"),
        (("claim", "statement"), "It is injective.", "statement"),
        (("claim", "graph"), "0" * 64, "digest"),
        (("graph", "layer"), 7, "digest"),
        (("graph", "nodes", 3, 1), [900], "earlier nodes"),
        (("graph", "nodes"), [], "index"),
        (("graph",), None, "graph"),
        (("facts", 0), ["polynomial", "0", True, None, False, False], "claimed"),
        (("lines",), [], "one line per node"),
        (("structural_collisions",), [], "structural_collisions"),
        (("witness",), {"claim": "discontinuous"}, "witness"),
        (("obstructions",), [{"node": 0}], "obstruction"),
        (("claim",), None, "claim"),
    ],
    ids=str,
)
def test_a_tampered_proof_is_rejected(
    proof: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Any, value: Any, reason: str
) -> None:
    data = placed(proof, ("result", "certificate", *path), value)
    assert run(["verify", str(stored(tmp_path, json.dumps(data))), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "rejected"
    assert reason in record["result"]["reason"]


@pytest.mark.parametrize(
    ("name", "value"), [("regularity", "polynomial"), ("structural_collisions", []), ("obstructions", [{}])]
)
def test_a_record_that_states_more_than_its_certificate_is_rejected(
    proof: dict[str, Any], tmp_path: Path, name: str, value: Any
) -> None:
    outcome = verify_record(stored(tmp_path, json.dumps(placed(proof, ("result", name), value))))
    assert outcome.verdict is Verdict.REJECTED
    assert f"the record.result.{name}" in outcome.result["reason"]


def test_nothing_is_said_of_a_graph_that_is_another_network_than_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from numerics.graphs import as_its_class

    monkeypatch.setattr(as_its_class, "explained", lambda *states: (1.0, 0.5))
    with pytest.raises(Unsupported, match="GPT2LMHeadModel does, but at random parameters their states are 1 apart"):
        check_model("tiny-gpt2")
    monkeypatch.setattr(as_its_class, "build", lambda *_, **__: sipit.load_model("nosuch"))
    assert check_model("tiny-gpt2").verdict == "proved"  # a class that does not run is none that differs
