"""`sipit check` and `sipit verify` end to end on small models."""

import copy
import json
from pathlib import Path

import pytest
from transformers import LlamaConfig

from proofs import InvalidInput, Verdict
from sipit.checking import check_model
from sipit.verifying import verify_record


def stored(folder: Path, text: str) -> Path:
    path = folder / "record.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_kink_is_refuted_with_place_and_witness_and_verified(tmp_path: Path) -> None:
    record = check_model("tiny-opt")
    assert (record.verdict, record.result["regularity"]) == (Verdict.REFUTED, "C0")
    first = record.result["obstructions"][0]
    assert (first["operation"], first["module"]) == ("relu", "model.decoder.layers.0.activation_fn")
    assert first["source"].startswith("transformers/models/opt/modeling_opt.py:")
    assert record.result["witness"]["claim"] == "not analytic"
    assert verify_record(stored(tmp_path, record.dumps())).verdict is Verdict.ACCEPTED


def test_absolute_positions_and_smooth_blocks_are_proved() -> None:
    record = check_model("tiny-gpt2")
    assert (record.verdict, record.result["positions"]) == (Verdict.PROVED, "absolute")
    assert record.result["structural_collisions"] == []
    assert record.result["conditions"]["open"] == []
    assert record.result["positions_evidence"]["agrees_with_the_graph"] is True


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


@pytest.mark.parametrize("text", ["", "{", '{"schema": "other/1"}'])
def test_a_truncated_or_foreign_record_is_misuse(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="Expected"):
        verify_record(stored(tmp_path, text))
