"""The number format that computed is not the container."""

import json

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

import sipit
from sipit.cli import run
from sipit.inversion import first_states
from sipit.inversion.inverter import Inverter
from sipit.states.files import States, read_states
from tests.field.models import drawn_ids, llama, plain
from tests.sipit.folders import save

PROMPTS = [drawn_ids(5, seed=1), drawn_ids(12, seed=2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(llama(), tmp_path_factory.mktemp("llama"))


def answers(folder, arrays, **how):
    return sipit.invert(sipit.load_model(folder, **how), States(tuple(arrays), 1))


@pytest.mark.parametrize("computed", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("held", [torch.float32, torch.float64])
def test_values_on_a_half_grid_were_computed_there(folder, computed, held):
    found = answers(folder, [plain(folder, ids, dtype=computed)[1].to(held) for ids in PROMPTS])
    assert [one.token_ids for one in found] == PROMPTS


def test_float32_in_float64(folder):
    arrays = [plain(folder, ids)[1].double() for ids in PROMPTS]
    assert [one.token_ids for one in answers(folder, arrays, dtype="float64")] == PROMPTS


@pytest.mark.parametrize("order", [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
@pytest.mark.parametrize("apart", [False, True])
def test_every_tensor_has_its_own_format(folder, order, apart, tmp_path):
    arrays = [plain(folder, ids, dtype=dtype)[1] for ids, dtype in zip(PROMPTS, order, strict=True)]
    named = {f"{number}": array.contiguous() for number, array in enumerate(arrays)}
    if apart:
        for name, array in named.items():
            save_file({name: array}, tmp_path / f"{name}.safetensors")
    else:
        save_file(named, tmp_path / "states.safetensors")
    states = read_states(tmp_path if apart else tmp_path / "states.safetensors", layer=1)
    found = sipit.invert(sipit.load_model(folder), states)
    assert [one.token_ids for one in found] == PROMPTS
    tight, loose = sorted(one.tokens[0].tolerance for one in found)
    assert tight < 1e-4 < loose


def under_autocast(folder):
    """States that were computed in a half type and handed out in float32, on no half grid."""
    module = tf.AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        runs = [module(input_ids=torch.tensor([ids]), output_hidden_states=True) for ids in PROMPTS]
    return [run.hidden_states[1][0].float() for run in runs]


@pytest.fixture
def searches(monkeypatch):
    """Every search that is begun, in order."""
    begun, genuine = [], Inverter._search

    def search(self, *arguments):
        begun.append(genuine(self, *arguments))
        return begun[-1]

    monkeypatch.setattr(Inverter, "_search", search)
    return begun


def test_what_is_told_of_the_work_is_of_all_formats_that_were_tried(folder, searches):
    (found,) = answers(folder, under_autocast(folder)[:1])
    tries = [search.standing() for search in searches]
    assert len(tries) > 1 and found.outcome == "recovered"
    assert found.forward_passes == sum(one.forward_passes for one in tries)
    assert found.token_positions == sum(one.token_positions for one in tries)
    assert found.candidates_tested == sum(one.candidates_tested for t in tries for one in t.results)
    assert found.seconds == tries[-1].seconds and [*found.tokens] == [*tries[-1].results]
    assert [one.seconds for one in tries] == sorted(one.seconds for one in tries)  # one budget for all


def test_a_budget_that_ended_in_another_format_is_no_fit(folder, searches, monkeypatch):
    genuine = Inverter._search

    def search(self, *arguments):
        found = genuine(self, *arguments)
        if len(searches) > 1:  # which share the budget
            found.clock.charge(float("inf"))
        return found

    monkeypatch.setattr(Inverter, "_search", search)
    (found,) = answers(folder, under_autocast(folder)[:1])
    assert found.outcome == "not_found" and len(searches) > 1
    assert "as computed in float32, float16 (the time budget ended), bfloat16 (the time budget ended)" in found.note


def test_what_is_kept_of_an_inversion_is_there_while_other_formats_are_tried(folder, monkeypatch):
    def stopped(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("sipit.inversion.inverter.with_other_formats", stopped)
    model, states = sipit.load_model(folder), States(under_autocast(folder)[:1], 1)
    inverter = Inverter.open(model, states)
    with pytest.raises(KeyboardInterrupt):
        inverter.invert_all(states, resume=True)
    assert inverter.kept(states).standing(0) is not None
    monkeypatch.undo()
    inverter.invert_all(states, resume=True)
    assert not inverter.kept(states).folder.exists()


def test_half_types_are_tried_before_nothing_is_said_to_fit(folder):
    arrays = under_autocast(folder)
    assert not any(torch.equal(array, array.bfloat16().float()) for array in arrays)
    found = answers(folder, arrays)
    assert [one.token_ids for one in found] == PROMPTS
    assert all("Nothing fits as computed in float32; as computed in " in one.explanation for one in found)


def test_random_rows_are_of_no_prompt_in_any_format(folder):
    rows = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    (found,) = answers(folder, [rows])
    assert found.outcome == "not_found"
    assert found.note is None  # nothing is near enough to try
    assert "if each row is the last state of a prompt of its own" not in answers(folder, [rows[:1]])[0].explanation


def test_last_rows_of_several_prompts_may_be_meant(folder, tmp_path, capsys):
    prompts = [[*PROMPTS[0][:2], token] for token in (7, 8, 9)]
    rows = torch.stack([plain(folder, ids)[1][-1] for ids in prompts])
    (found,) = answers(folder, [rows])
    assert found.outcome == "not_found"
    assert "last state of a prompt of its own, store them as (N, 1, d), and say where they" in found.explanation
    save_file({"rows": rows[:, None].contiguous()}, tmp_path / "rows.safetensors")
    place = ("--layer", "1", "--positions", "2", "--prefix", str(PROMPTS[0][:2]), "--json")
    assert run(["invert", folder, "--states", str(tmp_path / "rows.safetensors"), *place]) == 0
    partial = json.loads(capsys.readouterr().out)["result"]["partial"]
    assert [one["token_ids"] for one in partial] == prompts


def test_the_first_position_of_a_vocabulary_is_run_once(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    monkeypatch.setattr(first_states, "SMALLEST", 512)
    model = sipit.load_model(folder)
    rows = [torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    before, after = (sipit.invert(model, States((array,), 1))[0] for array in rows)
    assert (before.outcome, after.outcome) == ("not_found", "not_found")
    assert before.candidates_tested == after.candidates_tested == 512
    assert after.token_positions < 64 < 512 <= before.token_positions
    monkeypatch.setattr(first_states, "SMALLEST", 10**9)
    (anew,) = sipit.invert(model, States((rows[1],), 1))
    assert anew.token_positions >= 512
    assert anew.largest_residual == pytest.approx(after.largest_residual, rel=1e-5)
    monkeypatch.setattr(first_states, "SMALLEST", 512)
    found = answers(folder, [plain(folder, ids)[1] for ids in PROMPTS])
    assert [one.token_ids for one in found] == PROMPTS


def test_prompts_side_by_side_share_what_was_run_at_the_first_position(folder, monkeypatch, tmp_path):
    """Nothing fits, so each goes through the whole vocabulary, in an order of its own."""
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    model = sipit.load_model(folder)
    rows = [torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]

    def runs(smallest):
        monkeypatch.setattr(first_states, "SMALLEST", smallest)
        found = sipit.invert(model, States(rows, 1))
        assert {one.outcome.value for one in found} == {"not_found"}
        return sum(one.token_positions for one in found)

    assert runs(512) < runs(10**9) / 3


@pytest.mark.parametrize(
    ("family", "observe"), [pytest.param("mixtral", "router-scores", marks=pytest.mark.slow), ("llama", "logprobs")]
)
def test_what_is_shared_at_the_first_position_is_not_rounded(family, observe, monkeypatch, tmp_path):
    """Some observations of a half type are read in float32."""
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    monkeypatch.setattr(first_states, "SMALLEST", 512)
    model, prompt = sipit.load_model(f"tiny-{family}", dtype="bfloat16"), [9, 200, 31, 7]
    states = sipit.capture(model, [prompt], observe=observe, layer=1 if observe == "router-scores" else None)
    assert states.arrays[0].dtype == torch.float32
    (found,) = sipit.invert(model, states)
    assert (found.token_ids, found.tokens[0].residual) == (prompt, 0.0)
