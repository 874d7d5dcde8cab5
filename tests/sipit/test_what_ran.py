"""Every record names what ran: the number systems of a claim, of its check, and of what is measured beside it."""

import json

import pytest

import sipit
from proofs.evidence import write_atomically
from sipit.claims import in_floats
from sipit.claims.certify import certify
from sipit.claims.check import check_model
from sipit.claims.prove import prove_generic_position, prove_training_step, prove_witness
from sipit.claims.verify import verify_record
from sipit.collisions.record import collision_record
from sipit.models.tiny import tiny_config
from tests.sipit.cases import tiny

PROMPTS = [[5, 6], [5, 7]]


def arithmetic(record):
    return record.provenance["arithmetic"].split("; ")


def written(record, folder):
    path = folder / "record.json"
    write_atomically(path, record.dumps().encode())
    return path


CLAIMS = {
    "witness": lambda: prove_witness(vocabulary=2, context=1),
    "training-step": lambda: prove_training_step(model="tiny-gpt2", width=1, rate="1/10", optimizer="gd", seed=0),
    "generic-position": lambda: prove_generic_position(
        context=1, bos=False, model="tiny-gpt2", variant=None, tied=False, seed=0
    ),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_check_names_the_number_systems_of_the_claim(kind, tmp_path):
    record = CLAIMS[kind]()
    verified = verify_record(written(record, tmp_path))
    assert verified.result["kind"] == kind and verified.verdict == "accepted"
    assert arithmetic(verified) == arithmetic(record)


def test_a_check_of_a_class_names_balls_where_it_has_a_witness(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny_config("gpt2").to_dict()))
    verified = verify_record(written(check_model(str(tmp_path / "config.json"), layer=1), tmp_path))
    assert arithmetic(verified) == ["exact rationals"]


def test_what_is_too_large_was_not_computed(tmp_path):
    verified = verify_record(written(CLAIMS["witness"](), tmp_path), limit=1e-9)
    assert verified.verdict == "undecided" and verified.provenance["arithmetic"] is None


def test_floats_beside_a_bound_are_named(tmp_path):
    model = tiny("gpt2")
    plain, measured = (certify(model, PROMPTS, layer=1, budget=budget) for budget in (False, True))
    ran = [part for part in arithmetic(measured) if part not in arithmetic(plain)]
    assert measured.result["noise_budget"] and len(ran) == 1
    names = measured.result["noise_budget"]["layers"][0]["noise"]
    assert all(name in ran[0] for name in names)


def test_floats_beside_a_proof_are_named(monkeypatch):
    monkeypatch.setattr(in_floats, "LENGTHS", ((1, 2),))
    monkeypatch.setattr(in_floats, "TOKENS", 2)
    record = prove_generic_position(context=2, bos=False, model="tiny-llama", variant=None, tied=False, seed=0)
    rows = record.result["rounding"] + record.result["rounding_of_runs"]
    assert rows
    (ran,) = [part for part in arithmetic(record) if part.startswith("what rounding makes of collisions: ")]
    assert all(f"{row['dtype']} ({row['attention']} attention)" in ran for row in rows)


def test_a_search_names_the_runs_that_decide():
    model = sipit.load_model("tiny-gpt2", dtype="bfloat16")
    ran = arithmetic(collision_record(model, "random:2", limit=4, layers=[1]))
    assert model.arithmetic.split("; ") == ran[:-2]
    assert "float64" in ran[-1] and "distances" in ran[-2]
