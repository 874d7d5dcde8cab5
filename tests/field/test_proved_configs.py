"""What `check` proves of a config, beside what its class does: no two short prompts collide where it says `proved`.

Of small models of the class with parameters drawn in float64, every prompt of up to three tokens is run.
"""

import itertools
import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from numerics.graphs import windows
from numerics.graphs.capture import capture_graph
from numerics.graphs.windows import window
from proofs.errors import InvalidInput
from proofs.kernel.result import digest
from proofs.kernel.value_numbering import rules
from proofs.verdict import Verdict
from sipit.claims.check import check_model
from sipit.claims.fields import checked
from sipit.claims.verify import verify_record
from tests.sipit.cases import rest_slow

SIZES = {
    "vocab_size": 4, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "vocab_size": 4, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 32}
ENCODER = {**SIZES, "is_decoder": True}
NEO = {"model_type": "gpt_neo", "vocab_size": 4, "hidden_size": 8, "num_layers": 2, "num_heads": 2,
       "max_position_embeddings": 64, "activation_function": "gelu"}  # fmt: skip
ONE = {"hidden_size": 1, "num_attention_heads": 1}
CONFIGS = {
    "gpt2": (GPT2, "proved"),
    "gpt2 of one entry": ({**GPT2, "n_embd": 1, "n_head": 1}, "refuted"),
    "bert": ({"model_type": "bert", **ENCODER}, "proved"),
    "bert of one entry": ({"model_type": "bert", **ENCODER, **ONE}, "refuted"),
    "roberta, whose padding stands nowhere": ({"model_type": "roberta", **ENCODER}, "undecided"),
    "roberta of one block": ({"model_type": "roberta", **ENCODER, "num_hidden_layers": 1}, "undecided"),
    "camembert": ({"model_type": "camembert", **ENCODER}, "undecided"),
    "openai-gpt of one entry": ({"model_type": "openai-gpt", "vocab_size": 4, "n_embd": 1, "n_layer": 2, "n_head": 1,
                                 "n_positions": 32}, "refuted"),
    "opt of one entry": ({"model_type": "opt", **SIZES, **ONE, "ffn_dim": 16, "word_embed_proj_dim": 1,
                          "activation_function": "gelu"}, "refuted"),
    "bloom of one entry": ({"model_type": "bloom", "vocab_size": 4, "hidden_size": 1, "n_layer": 2, "n_head": 1},
                           "refuted"),
    "gpt-neo": ({**NEO, "attention_types": [[["global", "local"], 1]], "window_size": 8}, "proved"),
    "gpt-neo, all local": ({**NEO, "attention_types": [[["local"], 2]], "window_size": 8}, "refuted"),
    "gpt-neo, far": ({**NEO, "attention_types": [[["local"], 2]], "window_size": 30}, "undecided"),
    "gpt-neo, as far as it goes": ({**NEO, "attention_types": [[["local"], 2]], "window_size": 33}, "proved"),
    "biogpt": ({"model_type": "biogpt", **SIZES}, "proved"),
    "mamba": ({"model_type": "mamba", "vocab_size": 4, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4},
              "proved"),
}  # fmt: skip


def states(config):
    """The states behind the last block of every short prompt, in float64, with every parameter drawn."""
    torch.manual_seed(0)
    config.use_cache = False
    module = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.5)
    found = {}
    for length in (1, 2, 3):
        prompts = [*itertools.product(range(4), repeat=length)]
        with torch.inference_mode():
            hidden = module(torch.tensor(prompts), output_hidden_states=True).hidden_states[-1][:, -1]
        found |= dict(zip(prompts, hidden, strict=True))
    return found


@pytest.mark.parametrize("name", rest_slow("gpt2", "bert of one entry", of=CONFIGS))
def test_no_two_short_prompts_collide_where_it_is_proved(name, tmp_path):
    data, verdict = CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    record = check_model(str(path))
    assert (record.verdict, record.result["regularity"]) == (verdict, "analytic")
    told = record.result["collisions_undecided"]
    assert (told is None) is (verdict != "undecided")
    claimed = [
        {tuple(one) for one in pair} for entry in record.result["structural_collisions"] for pair in entry["pairs"]
    ]
    placement = record.result["classification"]
    assert placement is None or not claimed or "no two" not in placement["without_bos"]
    stored = tmp_path / "record.json"
    stored.write_text(record.dumps())
    assert verify_record(stored).verdict is Verdict.ACCEPTED
    found = states(AutoConfig.for_model(**data))
    size = max(float(row.norm()) for row in found.values())
    near = [{s, t} for s, t in itertools.combinations(found, 2) if float((found[s] - found[t]).norm()) < 1e-9 * size]
    assert not near or verdict != "proved"
    assert all(pair in near for pair in claimed if all(len(one) <= 3 and max(one) < 4 for one in pair))


def test_none_is_claimed_where_tokens_are_compared_and_a_record_that_does_is_rejected(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS["roberta, whose padding stands nowhere"][0]))
    record = check_model(str(path))
    assert record.result["positions"] == "undecided"
    data = json.loads(record.dumps())
    certificate = data["result"]["certificate"]
    others = {"2": capture_graph(path, None, "eager", length=2).to_json()}
    claim = {**certificate["claim"], "other_lengths": digest(others)}
    forged = {**certificate, "claim": claim, "structural_collisions": [], "collisions_undecided": None,
              "other_lengths": others}  # fmt: skip
    data["result"] |= {**checked(forged), "certificate": forged}
    data["verdict"] = "proved"
    stored = tmp_path / "forged.json"
    stored.write_text(json.dumps(data))
    found = verify_record(stored)
    assert (found.verdict, "to be left open" in found.result["reason"]) == (Verdict.REJECTED, True)


@pytest.mark.parametrize(
    ("data", "layer", "expected"),
    [
        ({**NEO, "attention_types": [[["local"], 2]], "window_size": 5}, None, (5, True, 9)),
        ({**NEO, "attention_types": [[["local"], 2]], "window_size": 5}, 1, (5, True, 5)),
        ({**NEO, "attention_types": [[["global", "local"], 1]], "window_size": 5}, None, (5, False, None)),
        ({"model_type": "mistral", **SIZES, "num_key_value_heads": 2, "sliding_window": 7}, None, (7, True, 13)),
        ({"model_type": "mistral", **SIZES, "num_key_value_heads": 2, "sliding_window": None}, None, None),
        ({"model_type": "llama", **SIZES, "sliding_window": 7}, None, (7, False, None)),  # the class knows no such word
    ],
)
def test_what_a_window_does_is_tried(data, layer, expected):
    found = window(AutoConfig.for_model(**data), layer)
    assert found == expected if expected is None else (found.size, found.every_layer, found.reach) == expected


CONVOLVED = {"model_type": "lfm2", **SIZES, "num_key_value_heads": 1, "max_position_embeddings": 512}


@pytest.mark.parametrize(
    ("fields", "verdict", "reach"),
    [
        ({"layer_types": ["conv", "conv"]}, "refuted", 5),
        pytest.param({"layer_types": ["conv", "conv"], "conv_L_cache": 12}, "refuted", 23, marks=pytest.mark.slow),
        pytest.param({"layer_types": ["conv", "conv"], "conv_L_cache": 40}, "undecided", 79, marks=pytest.mark.slow),
        ({"layer_types": ["conv", "full_attention"]}, "proved", None),
    ],
    ids=str,
)
def test_convolutions_bound_what_is_seen_as_windows_do(tmp_path, fields, verdict, reach):
    """The last state of prompts that differ where no convolution reaches is the same, to the bit."""
    config = {**CONVOLVED, **fields}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    record = check_model(str(path))
    assert record.verdict.value == verdict
    assert (record.result["window"] is None) is (reach is None)
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).double().eval()
    seen = reach or 60
    ids = torch.full((2, seen + 1), 3)
    ids[1, 0] = 2
    with torch.inference_mode():
        first, second = module.base_model(input_ids=ids, use_cache=False)[0][:, -1]
    assert torch.equal(first, second) is (reach is not None)


@pytest.mark.slow
def test_a_window_that_could_not_be_tried_is_not_said_to_be_seen(tmp_path, monkeypatch):
    def refused(config):
        raise InvalidInput("Expected a config that can be made small, but got another.")

    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({**NEO, "attention_types": [[["local"], 2]], "window_size": 64, "max_position_embeddings": 512})
    )
    tried = check_model(str(path)).result["certificate"]["collisions_undecided"]
    monkeypatch.setattr(windows, "small_copy", refused)
    untried = check_model(str(path)).result["certificate"]["collisions_undecided"]
    assert "every layer sees a window of 64 tokens alone" in tried
    assert "no run of a small copy shows whether any layer sees more" in untried


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "said"), [([0.0, 1e9], True), ([0.0, 0.0], False)])
def test_no_page_speaks_of_recurrent_layers_that_carry_nothing_on(steps, said, tmp_path):
    """Time steps that are clamped to 0 leave of every layer a convolution of four tokens; its graph cannot say so."""
    config = {"model_type": "mamba2", "vocab_size": 11, "hidden_size": 16, "num_heads": 4, "head_dim": 8, "expand": 2,
              "state_size": 4, "n_groups": 1, "num_hidden_layers": 1, "chunk_size": 8,
              "time_step_limit": steps}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = check_model(str(tmp_path)).result
    assert (found["classification"] is not None) == said
    assert (found["certificate"]["collisions_undecided"] is None) == said


MULTIPLIED = {"model_type": "falcon_h1", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
              "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
              "mamba_chunk_size": 4, "attention_out_multiplier": 0.0}  # fmt: skip


GATED = {"attention_out_multiplier": 1.0, "ssm_multipliers": [0.0, 1.0, 1.0, 1.0, 1.0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("multipliers", "verdict"),
    [
        ({"ssm_multipliers": [0.0] * 5}, "refuted"),
        ({"ssm_multipliers": [1.0] * 5}, "proved"),
        (GATED, "refuted"),  # silu(0) = 0, and nothing but attention is left
        ({"attention_out_multiplier": 1.0, "ssm_in_multiplier": 0.0}, "refuted"),
    ],
    ids=["zero", "one", "a gate of zero", "nothing goes in"],
)
def test_multipliers_of_zero_in_buffers_that_another_module_sets_are_seen(multipliers, verdict, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**MULTIPLIED, **multipliers}))
    record = check_model(str(tmp_path))
    assert record.verdict.value == verdict
    assert record.result["collisions_undecided"] is None


@pytest.mark.slow
def test_what_runs_say_and_no_rule_of_the_numbering_shows_is_left_open(tmp_path, monkeypatch):
    """Repeated tokens collide; without f(0) = 0 the graphs do not show it."""
    monkeypatch.setattr(rules, "VANISHING", frozenset())
    (tmp_path / "config.json").write_text(json.dumps({**MULTIPLIED, **GATED}))
    record = check_model(str(tmp_path))
    assert record.verdict is Verdict.UNDECIDED
    assert "repeated token" in record.result["collisions_undecided"]
    assert record.result["classification"] is None


SWA = {"model_type": "granite_swa", "vocab_size": 16, "hidden_size": 16, "intermediate_size": 16,
       "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512,
       "layer_types": ["full_attention", "sliding_attention"]}  # fmt: skip


@pytest.mark.parametrize(
    ("turned", "size", "verdict"),
    [
        ([0, 1e4], 128, "undecided"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ([0, 1e4], 4, "refuted"),
                ([1e4, 1e4], 128, "proved"),
                ([0, 0], 128, "undecided"),
                ([0, 1e4], 512, "proved"),
            )
        ),
    ],
    ids=str,
)
def test_order_that_a_window_hides_is_looked_for_behind_it(turned, size, verdict, tmp_path):
    """A layer without positions sees how often each token occurs; a window behind it does not see the first ones."""
    config = {**SWA, "layer_rope_theta": turned, "sliding_window": size}
    (tmp_path / "config.json").write_text(json.dumps(config))
    record = check_model(str(tmp_path))
    assert record.verdict.value == verdict
    assert ("order" in (record.result["collisions_undecided"] or "")) == (verdict == "undecided")


@pytest.mark.slow
@pytest.mark.parametrize(("turned", "verdict"), [([1e4, 0], "undecided"), ([1e4, 1e4], "proved")], ids=str)
def test_order_between_words_that_a_window_does_not_span_is_looked_for(turned, verdict, tmp_path):
    """The layer without positions is the last: `w a w b w` and `w b w a w` have the same windows as often."""
    kinds = ["sliding_attention", "full_attention"]
    config = {**SWA, "layer_types": kinds, "layer_rope_theta": turned, "sliding_window": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    record = check_model(str(tmp_path))
    assert record.verdict.value == verdict
    assert ("order" in (record.result["collisions_undecided"] or "")) == (verdict == "undecided")


@pytest.mark.slow
def test_no_classification_speaks_of_a_network_without_positions(tmp_path):
    config = {"model_type": "phi", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
              "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}  # fmt: skip
    for rotary, spoken_of in ((0.0, False), (0.5, True)):
        (tmp_path / "config.json").write_text(json.dumps({**config, "partial_rotary_factor": rotary}))
        result = check_model(str(tmp_path)).result
        assert (result["positions"] == "none") is not spoken_of
        assert (result["classification"] is not None) is spoken_of
