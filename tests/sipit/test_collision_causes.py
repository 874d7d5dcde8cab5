"""The cause of a hit: known, not confirmed alone, rounding, or unexplained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sipit
from sipit.collisions.causes import Cause, StandAlone, explain, window_reach
from sipit.models.copies import in_dtype
from sipit.models.network import Network
from sipit.models.tiny import drawn_module, tiny_config
from sipit.noise.float64 import float64_errors, unit_within
from tests.sipit.cases import language_model


@pytest.fixture(scope="module")
def models():
    plain = sipit.load_model("tiny-llama", dtype="float32")
    exact = sipit.load_model("tiny-llama", dtype="float64")
    with torch.no_grad():
        for model in (plain, exact):
            rows = model.decoder.tables[0].weight
            rows[7] = rows[5]
            rows[11] = rows[10] * (1 + 1e-3)
    return replace(plain), replace(exact)


def cause(models, first, second, **options):
    return explain(StandAlone(*models), first, second, layer=2, **{"threshold": 0.5, **options})


def test_what_is_known_is_the_cause_and_is_measured_all_the_same(models):
    found = cause(models, [1, 5, 3], [1, 7, 3], known=Cause.DUPLICATE_ROWS)
    assert found.cause is Cause.DUPLICATE_ROWS and found.distance == 0 == found.distance_float64
    assert cause(models, [5, 5], [5, 3], known=Cause.STRUCTURAL, threshold=1e-9).cause is Cause.STRUCTURAL


def test_what_stand_alone_runs_separate_is_not_confirmed(models):
    found = cause(models, [1, 2, 3], [4, 2, 3], threshold=1e-9)
    assert found.cause is Cause.NOT_CONFIRMED and found.distance > 1e-9


def test_a_close_pair_beyond_the_noise_is_unexplained(models):
    found = cause(models, [1, 10], [1, 11], threshold=1e3)
    assert found.cause is Cause.UNEXPLAINED and found.distance > found.noise > 0
    assert found.distance == pytest.approx(found.distance_float64, abs=found.noise)


def test_where_the_threshold_was_measured_what_both_runs_tell_apart_is_not_confirmed(models):
    found = cause(models, [1, 10], [1, 11], threshold=1e3, measured=True)
    assert found.cause is Cause.NOT_CONFIRMED
    assert min(found.distance, found.distance_float64) > found.noise
    same = cause(models, [1, 5, 3], [1, 7, 3], threshold=1e3, measured=True)
    assert same.cause is Cause.UNEXPLAINED and same.distance_float64 <= same.noise


@pytest.mark.parametrize(
    ("distance", "separated", "rounding", "expected"),
    [
        (0.0, 1e-3, 1e-8, Cause.BELOW_NOISE),
        (0.0, 1e-5, 1e-8, Cause.BELOW_NOISE),  # less than the noise of the model's type, more than float64 errs by
        (0.0, 1e-9, 1e-8, Cause.UNEXPLAINED),
        (0.0, 0.0, 0.0, Cause.UNEXPLAINED),
        (1e-3, 1e-3, 1e-8, Cause.UNEXPLAINED),
        (0.6, 1e-3, 1e-8, Cause.NOT_CONFIRMED),
    ],
)
def test_rounding_explains_only_what_float64_separates(distance, separated, rounding, expected):
    class Alone:
        def states(self, ids, _layer):
            return np.array([distance * ids[0]]), np.array([separated * ids[0]])

        def noise(self, _ids, _layer):
            return 5e-5

        def rounding(self, _ids, _layer):
            return rounding / 2

    assert explain(Alone(), [0], [1], layer=1, threshold=0.5).cause is expected


def test_float64_is_held_against_its_own_rounding():
    """A first token that the last state hardly sees: bfloat16 does not separate it, float64 does."""
    model = sipit.load_model("tiny-gpt2", dtype="bfloat16")
    with torch.no_grad():
        for block in model.decoder.blocks:
            block.attn.c_proj.weight.mul_(1e-5)
    alone = StandAlone.of(replace(model))
    found = explain(alone, [1, 2, 3], [4, 2, 3], layer=1, threshold=0.5)
    assert found.distance == 0 < found.distance_float64 < found.noise and found.cause is Cause.BELOW_NOISE
    again = explain(alone, [1, 2, 3], [1, 2, 3], layer=1, threshold=0.5)
    assert again.cause is Cause.UNEXPLAINED
    assert 0 < alone.rounding([1, 2, 3], 1) < found.distance_float64 / 10


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])  # one in float64 throughout, one with casts to float32
def test_a_model_in_float64_is_not_held_against_itself(family):
    """Of a pair that its rounding alone sets apart it cannot be told that they differ; of a far one it can."""
    model = sipit.load_model(f"tiny-{family}", dtype="float64")
    with torch.no_grad():
        rows = model.decoder.tables[0].weight
        rows[11] = rows[10] * (1 + torch.finfo(torch.float64).eps)
        rows[13] = rows[10] * (1 + 1e-2)
    alone = StandAlone.of(replace(model))
    near, far = (explain(alone, [1, 10], [1, b], layer=2, threshold=1e-3, measured=True) for b in (11, 13))
    assert near.cause is Cause.UNEXPLAINED and 0 < near.distance == near.distance_float64 <= near.noise
    assert far.cause is Cause.NOT_CONFIRMED and far.distance > far.noise > 0


@pytest.mark.parametrize(("family", "unit"), [("gpt2", torch.float64), ("llama", torch.float32)])
def test_float64_errs_by_the_least_exact_type_within_and_by_as_much_as_is_said(family, unit):
    """Held against a type whose errors can be seen: in float32 throughout a run errs by no more than is said of it."""
    model = sipit.load_model(f"tiny-{family}")
    network = Network(in_dtype(model, torch.float64), 2)
    assert unit_within(network) == torch.finfo(unit).eps
    ids = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    errors = (Network(model, 2).run(ids[None])[0].double() - network.run(ids[None])[0]).norm(dim=1)
    said = float64_errors(network, ids, torch.finfo(torch.float32).eps)
    assert (errors <= said).all() and (said <= 100 * errors).all()


@pytest.mark.parametrize("alibi", [False, True])
def test_a_table_in_a_half_type_is_the_network_and_no_error_of_it(alibi):
    config = tiny_config("falcon")
    config.alibi = alibi  # a table in bfloat16, in whatever type it runs
    model = in_dtype(language_model(drawn_module(config, seed=0)), torch.float64)
    assert unit_within(Network(model, 2)) == torch.finfo(torch.float32).eps


def test_the_reference_holds_the_same_weights(models):
    alone = StandAlone.of(models[0])
    assert alone.reference.dtype == torch.float64 and models[0].dtype == torch.float32
    assert StandAlone.of(models[1]).reference is models[1]
    plain, exact = alone.states([1, 2, 3], 2)
    assert 0 < alone.noise([1, 2, 3], 2) < 1e-4 * np.linalg.norm(exact) and plain.shape == exact.shape
    np.testing.assert_allclose(exact, StandAlone(*models).states([1, 2, 3], 2)[1], rtol=1e-12)


@pytest.mark.slow
def test_what_lies_beyond_the_windows_cannot_be_seen(models):
    assert window_reach(models[0], 2) is None and window_reach(models[0], 0) == 1
    module = sipit.load_model("tiny-mistral").module
    module.config.sliding_window = 3
    mistral = replace(models[0], module=module)
    assert [window_reach(mistral, layer) for layer in (0, 1, 2, "final")] == [1, 3, 5, 5]
    module.config.sliding_window = None
    assert window_reach(mistral, 1) is None
