"""Rows that a number format makes one: what collides by that is of the format, and not known whatever the weights."""

from types import SimpleNamespace

import pytest

from numerics.formats import FORMATS
from sipit.collisions.known import families_at
from sipit.inversion.outcome import Outcome
from sipit.prompts.corpora import whole_prompts
from sipit.quantization import Extent, Study
from sipit.quantization.crowds import Crowd
from sipit.quantization.formatted import in_format
from sipit.quantization.recovery import Tally
from tests.sipit.cases import altered

SMALL = Extent(prompts=1, length=3, places=2, states=50, crossed=1, budget=5.0)
FIRST, SECOND, TWIN = 40, 41, 7


@pytest.fixture(scope="module")
def nearly_equal():
    """Two rows that differ in float32 and are one in bfloat16; a third token has the first of them."""

    def change(module):
        table = module.get_input_embeddings().weight
        table[FIRST] = table[FIRST].bfloat16().float()
        table[SECOND] = table[FIRST] * (1 + 1e-3)
        table[TWIN] = table[FIRST]

    return altered("llama", change)


@pytest.fixture(scope="module")
def crowd(nearly_equal):
    corpus = whole_prompts("given", [[5, FIRST], [5, SECOND], [5, TWIN], [5, 9]], independent=True)
    return Crowd(corpus, {1: families_at(nearly_equal, 1)}, nearly_equal.token_classes.numpy())


@pytest.mark.parametrize(
    ("name", "merged"), [("float32", []), ("bf16-states", []), ("bf16-weights", [TWIN, FIRST, SECOND])]
)
def test_only_what_the_format_makes_one_is_merged(name, merged, nearly_equal):
    assert in_format(nearly_equal, FORMATS[name]).merged.nonzero().flatten().tolist() == sorted(merged)


@pytest.mark.parametrize(("name", "collisions"), [("float32", 0), ("bf16-weights", 2), ("bf16", 2)])
def test_prompts_that_a_format_makes_one_are_collisions_of_it(name, collisions, nearly_equal, crowd):
    """The second row with the first, and with that of the third token, which is known to be the first."""
    formatted = in_format(nearly_equal, FORMATS[name])
    found = crowd.searched(formatted, 1, crowd.states(formatted)[1], noise=1e-7)
    assert found["collisions"] == collisions <= found["below_noise"]
    assert (found["minimum_distance"] == 0) == bool(collisions)


@pytest.mark.parametrize(("name", "ended"), [("float32", "recovered"), ("bf16-weights", "ambiguous")])
def test_a_merged_token_counts_as_ambiguous(name, ended, nearly_equal):
    target, tally, truth = in_format(nearly_equal, FORMATS[name]), Tally(), [5, TWIN, FIRST]
    named = target.model.token_classes[truth].tolist()
    tally.count(target, SimpleNamespace(token_ids=named, outcome=Outcome.RECOVERED), truth)
    assert tally == Tally(prompts=1, **{ended: 1})


@pytest.mark.slow
def test_a_merged_token_does_not_come_back_and_has_no_margin(nearly_equal):
    study = Study.open(nearly_equal, [[5, 9, FIRST]], layers=[1], extent=SMALL)
    plain, merged = (study.measured(FORMATS[name]) for name in ("float32", "bf16-weights"))
    assert (plain["recovered"], plain["ambiguous"], plain["merged_tokens"]) == (1, 0, 0)
    assert (merged["recovered"], merged["ambiguous"], merged["merged_tokens"]) == (0, 1, 3)
    assert plain["searched"][0]["own_margin"] > 0 == merged["searched"][0]["own_margin"]
